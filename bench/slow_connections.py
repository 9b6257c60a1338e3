"""Webhooks while a thousand connections idle or drip: `python -m bench.slow_connections`.

A relay in a process of its own, as `serve` starts it; honest webhooks come at a fixed rate, each on a connection
of its own. Prints p50 and p99 of their acknowledgement alone, beside idle connections, and beside ones that drip a
byte of a head each second and connect again when they are cut off, and the ratio of the p99.
"""

import argparse
import asyncio
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from typing import ClassVar

from typing_extensions import override

from service.crypto import SecretBox

SECRET = "webhook-secret-of-the-benchmark"  # noqa: S105  # of a relay that lives for a minute
SLOW = 1000
PER_S = 100
SECONDS = 12
ROUNDS = 3
KINDS = ("alone", "idle", "dripping")
BEGINNING = b"POST /webhooks/soniox HTTP/1.1\r\nX-Slow: "
NOTICE = '{"id":"84c32fc6-4fb5-4e7a-b656-b5ec70493753","status":"completed"}'
JOB = "0197a1b2-0000-7000-8000-000000000001"


@contextlib.contextmanager
def relay() -> Iterator[int]:
    """Its port."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        probe.close()
        settings = {
            "SONIOX_API_KEY": "key-of-the-benchmark",
            "SONIOX_API_BASE_URL": "http://127.0.0.1:1",
            "SONIOX_API_WEBHOOK_SECRET": SECRET,
            "DATABASE_URL": f"sqlite:///{folder}/relay.db",
            "LOG_LEVEL": "error",
            "PORT": str(port),
        }
        command = [sys.executable, "-m", "service", "serve", "--no-worker"]
        process = subprocess.Popen(command, cwd=folder, env=os.environ | settings)  # noqa: S603  # our own
        try:
            _await_start(port)
            yield port
        finally:
            process.terminate()
            process.wait(15)


def _await_start(port: int) -> None:
    for _ in range(600):
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=1).close()
            return
        time.sleep(0.1)
    raise SystemExit("the relay did not start")


async def webhook(port: int) -> float:
    """Seconds from connecting to the whole answer."""
    header = SecretBox([SECRET.encode()]).webhook_secret(JOB)
    head = f"POST /webhooks/soniox?job={JOB} HTTP/1.1\r\nHost: relay\r\nX-Soniox-Webhook-Secret: {header}\r\n"
    begun = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{head}Connection: close\r\nContent-Length: {len(NOTICE)}\r\n\r\n{NOTICE}".encode())
    answer = await reader.read()
    taken = time.perf_counter() - begun
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200"), answer[:80]
    return taken


async def honest(port: int, seconds: float) -> list[float]:
    """Webhooks at a fixed rate, whether the ones before were answered or not."""
    loop, running = asyncio.get_running_loop(), []
    begun = loop.time()
    for number in range(int(seconds * PER_S)):
        await asyncio.sleep(max(0.0, begun + number / PER_S - loop.time()))
        running.append(asyncio.create_task(webhook(port)))
    return sorted(await asyncio.gather(*running))


class Nuisance(asyncio.Protocol):
    """One connection that never ends the head of its request, and comes back when it is cut off."""

    open: ClassVar[set["Nuisance"]] = set()
    cut_off = 0
    drips = False

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(BEGINNING if Nuisance.drips else b"")
        Nuisance.open.add(self)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        Nuisance.open.discard(self)
        Nuisance.cut_off += 1


async def be_a_nuisance(port: int, number: int, drips: bool) -> None:
    """Hold so many connections, until this process is ended; a dripping one sends a byte each second."""
    loop = asyncio.get_running_loop()
    Nuisance.drips = drips
    while True:
        for _ in range(number - len(Nuisance.open)):
            await loop.create_connection(Nuisance, "127.0.0.1", port)
        for place, one in enumerate(list(Nuisance.open)):
            if drips:
                one.transport.write(b"x")
            if place % 20 == 19:
                await asyncio.sleep(20 / number)
        print(Nuisance.cut_off, flush=True)
        await asyncio.sleep(0 if drips else 1)


@contextlib.contextmanager
def nuisances(port: int, kind: str, number: int) -> Iterator[list[int]]:
    """Their process; at the end the list has how many were cut off."""
    cut_off: list[int] = []
    if kind == "alone":
        yield cut_off
        return
    command = [sys.executable, "-m", "bench.slow_connections", "--nuisance", kind, "--port", str(port)]
    process = subprocess.Popen([*command, "--connections", str(number)], stdout=subprocess.PIPE, text=True)  # noqa: S603
    assert process.stdout
    first = process.stdout.readline()  # all are connected
    try:
        yield cut_off
    finally:
        process.terminate()
        cut_off.append(int((first + process.stdout.read()).split()[-1]))
        process.stdout.close()
        process.wait()


def measure(port: int, seconds: float, number: int, rounds: int) -> None:
    """Print a line for each, and the middle one of the ratios."""
    asyncio.run(honest(port, 2))
    ratios: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(rounds):
        alone = 0.0
        for kind in KINDS:
            with nuisances(port, kind, number) as cut_off:
                taken = asyncio.run(honest(port, seconds))
            p50, p99 = taken[len(taken) // 2] * 1000, taken[int(len(taken) * 0.99)] * 1000
            alone = alone or p99
            ratios[kind].append(p99 / alone)
            print(
                f"{kind:<9} {len(taken)} webhooks, all 200: p50 {p50:5.1f} ms  p99 {p99:6.1f} ms",
                *cut_off,
                flush=True,
            )
    for kind in KINDS[1:]:
        print(f"{number} {kind}: p99 is {statistics.median(ratios[kind]):.2f} times that without them")


def main() -> None:
    """Run all three, several times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--connections", type=int, default=SLOW)
    parser.add_argument("--nuisance", choices=KINDS)
    parser.add_argument("--port", type=int)
    arguments = parser.parse_args()
    if arguments.nuisance:
        asyncio.run(be_a_nuisance(arguments.port, arguments.connections, arguments.nuisance == "dripping"))
        return
    with relay() as port:
        measure(port, arguments.seconds, arguments.connections, arguments.rounds)


if __name__ == "__main__":
    main()
