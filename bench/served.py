"""Servers to be measured, each in a process of its own."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from service.cli.demo.servers import free_port
from service.db.schema import upgrade
from service.settings import Settings
from tests.support.postgres import aside, postgres_server, run_on

MASTER_SECRET = "bench-master-secret-of-the-relay"  # noqa: S105  # a benchmark's own
API_KEY = "bench-api-key-of-the-relay-0001"
START_WITHIN_S = 20


@contextmanager
def naive(variant: str, database_url: str = "", soniox_url: str = "") -> Iterator[int]:
    """The port of one of `bench.naive`."""
    port = free_port()
    variables = {"DATABASE_URL": database_url, "SONIOX_API_BASE_URL": soniox_url}
    with running([sys.executable, "-m", "bench.naive", variant, str(port)], variables, port):
        yield port


@contextmanager
def relay(database_url: str, *options: str, **settings: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """The port and the process of `soniox-relay serve` with these options and settings."""
    port = free_port()
    variables = {
        "SONIOX_API_KEY": "bench-key-that-is-never-used",
        "SONIOX_API_WEBHOOK_SECRET": MASTER_SECRET,
        "RELAY_API_KEY": API_KEY,
        "DATABASE_URL": database_url,
        "LOG_LEVEL": "error",
        "RELAY_ALLOWED_DESTINATIONS": "127.0.0.1",
        "RELAY_KEY_REQUESTS_PER_MINUTE": "100000000",
        **settings,
    }
    command = [sys.executable, "-m", "service", "serve", "--port", str(port), *options]
    with running(command, variables, port) as process:
        yield port, process


def settings_of(database_url: str, **changes: object) -> Settings:
    """The settings of a relay inside the benchmark's own process."""
    values = {
        "soniox_api_key": "bench-key-that-is-never-used",
        "soniox_api_webhook_secret": MASTER_SECRET,
        "relay_api_key": API_KEY,
        "database_url": database_url,
        "relay_allowed_destinations": ("127.0.0.1",),
        **changes,
    }
    return Settings(_env_file=None, **values)  # type: ignore[arg-type]  # fields by name


@contextmanager
def ready_databases() -> Iterator[dict[str, str]]:
    """The URL of an empty, migrated database of each kind."""
    with tempfile.TemporaryDirectory() as folder, postgres_server() as server:
        run_on(server, "CREATE DATABASE relay_bench")
        urls = {"SQLite": f"sqlite:///{folder}/relay.db", "PostgreSQL": f"{server}/relay_bench"}
        for url in urls.values():
            aside(upgrade, url)
        yield urls


@contextmanager
def running(
    command: Sequence[str], variables: Mapping[str, str], port: int, *, log: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A program that listens on `port`; its standard error goes to `log`."""
    root = Path(__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root), **variables}
    process = subprocess.Popen(command, env=environment, stderr=log)  # noqa: S603  # our own programs
    try:
        _wait_for(port, process)
        yield process
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"{process.args!r} did not start")
