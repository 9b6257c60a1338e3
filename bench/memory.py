"""How much memory the relay takes: idle, and while a large file comes in and goes on to Soniox.

    python -m bench.memory [--megabytes 1024] [--database-url postgresql://...]

The relay and the Soniox double are processes of their own; the body is made while it is sent. What counts is the
resident memory of the relay's process, read 50 times a second, at its highest. Memory is compared with fixed
targets, since it does not depend on the machine's speed.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TypedDict

import httpx
import psutil

from service.cli.demo.servers import free_port

MEGABYTE = 1024 * 1024
IDLE_TARGET = 120  # MB
ADDED_TARGET = 64  # MB
KEY = "key-of-the-memory-bench-00000001"
BOUNDARY = "of-the-memory-bench"


@dataclass(frozen=True)
class Figures:
    """MB: before, and at most added until the file was stored here, and until Soniox was done with it."""

    idle: float
    added_by_upload: float
    added_by_forwarding: float

    @property
    def within_targets(self) -> bool:
        return self.idle < IDLE_TARGET and max(self.added_by_upload, self.added_by_forwarding) < ADDED_TARGET


class Upload(TypedDict):
    """What httpx is to send."""

    content: Iterator[bytes]
    headers: dict[str, str]


class Gauge:
    """Watches the memory of a process."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._highest = 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    def now(self) -> float:
        """MB."""
        return float(self._process.memory_info().rss) / MEGABYTE

    def highest(self) -> float:
        """MB, since it watches."""
        return self._highest

    def _watch(self) -> None:
        while self._process.is_running():
            try:
                self._highest = max(self._highest, self.now())
            except psutil.NoSuchProcess:
                return
            time.sleep(0.02)


def measure(megabytes: int, database_url: str | None = None) -> Figures:
    """Upload one file of that size through a fresh relay."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="relay-memory-"))
        soniox = f"http://127.0.0.1:{free_port()}"
        # A spoken file of that size would be days long: the double need not understand it, only take it in.
        stack.enter_context(running(folder, "sandbox", "--port", soniox.rsplit(":", 1)[1]))
        port = free_port()
        settings = {
            "SONIOX_API_KEY": "sandbox-key",
            "SONIOX_API_BASE_URL": soniox,
            "SONIOX_API_WEBHOOK_SECRET": "webhook-secret-of-the-memory-bench",
            "RELAY_API_KEY": KEY,
            "DATABASE_URL": database_url or f"sqlite:///{folder}/relay.db",
            "PORT": str(port),
        }
        relay = stack.enter_context(running(folder, "serve", **settings))
        client = stack.enter_context(
            httpx.Client(
                base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {KEY}"}, timeout=600
            )
        )
        until_up(client, relay)
        return _figures(client, Gauge(relay.pid), megabytes)


def _figures(client: httpx.Client, gauge: Gauge, megabytes: int) -> Figures:
    time.sleep(2)
    idle = gauge.now()
    answer = client.post("/v1/transcriptions", **body_of(megabytes))
    answer.raise_for_status()
    stored = gauge.highest()
    job = answer.json()["id"]
    while client.get(f"/v1/transcriptions/{job}").json()["status"] not in {"completed", "error"}:
        time.sleep(0.2)
    return Figures(idle, stored - idle, gauge.highest() - idle)


def body_of(megabytes: int) -> Upload:
    """Content and headers of a multipart request with a file of so many MB, the most Soniox takes being 1024."""
    request = json.dumps({"model": "stt-async-v5"})
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="request"\r\n\r\n{request}\r\n'
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="long.bin"\r\n\r\n'
    ).encode()
    tail = f"\r\n--{BOUNDARY}--\r\n".encode()
    piece = os.urandom(MEGABYTE)

    def content() -> Iterator[bytes]:
        yield head
        for _ in range(megabytes):
            yield piece
        yield tail

    length = len(head) + megabytes * MEGABYTE + len(tail)
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", "Content-Length": str(length)}
    return {"content": content(), "headers": headers}


@contextmanager
def running(folder: str, *command: str, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """`soniox-relay COMMAND` until the block ends."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
    process = subprocess.Popen(  # noqa: S603  # our own program
        [sys.executable, "-m", "service", *command],
        cwd=folder,
        env=environment | settings,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(15)


def until_up(client: httpx.Client, relay: subprocess.Popen[bytes]) -> None:
    """Wait for the relay to listen."""
    while relay.poll() is None:
        try:
            client.get("/livez")
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("the relay did not start")


def main() -> int:
    """Print the figures; exit code 1 when one is over its target."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--database-url")
    options, _ = parser.parse_known_args()
    figures = measure(options.megabytes, options.database_url)
    for what, found, target in (
        ("idle", figures.idle, IDLE_TARGET),
        (f"added by an upload of {options.megabytes} MB", figures.added_by_upload, ADDED_TARGET),
        ("added until Soniox was done with it", figures.added_by_forwarding, ADDED_TARGET),
    ):
        print(f"{what:34} {found:7.1f} MB   target < {target} MB   {'pass' if found < target else 'FAIL'}")
    return 0 if figures.within_targets else 1


if __name__ == "__main__":
    sys.exit(main())
