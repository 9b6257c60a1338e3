"""The command line: in the test's own process, or as a process where the process is the subject."""

import contextlib
import io
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TextIO, TypeAlias
from unittest import mock

import structlog
from typing_extensions import override

from service.__main__ import main
from tests.support.relay_app import (
    ADMIN_KEY,
    MASTER_SECRET,
    QUICK,
    RelayApp,
    ThreadedRelayApp,
    new_sqlite,
    relay_app_in_thread,
)

SECRETS = {
    "SONIOX_API_KEY": QUICK.api_key,
    "SONIOX_API_WEBHOOK_SECRET": MASTER_SECRET,
    "RELAY_API_KEY": ADMIN_KEY,
}
BARE = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
MODULE = (sys.executable, "-m", "service")
SCRIPT = (str(Path(sys.executable).with_name("soniox-relay")),)

Done: TypeAlias = "subprocess.CompletedProcess[str]"
Running: TypeAlias = "subprocess.Popen[str]"


@dataclass(frozen=True)
class Cli:
    """Runs commands in a folder, with these variables and no others of the tests'."""

    folder: Path
    variables: dict[str, str]

    def __call__(self, *arguments: str, given: str = "", **variables: str) -> Done:
        """Run one to its end in this process, with `given` on its standard input.

        One at a time: folder, variables and standard streams belong to the whole process. The thread lets the
        command start an event loop of its own, and keeps a command that handles signals from doing so unnoticed.
        """
        environment = BARE | self.variables | variables
        with ThreadPoolExecutor(1) as thread, contextlib.chdir(self.folder):
            return thread.submit(run_here, arguments, environment, given).result()

    def process(self, *arguments: str, program: tuple[str, ...] = MODULE) -> Done:
        """Run one to its end as a process."""
        return subprocess.run(  # noqa: S603  # our own program
            [*program, *arguments],
            cwd=self.folder,
            env=BARE | self.variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @contextlib.contextmanager
    def running(self, *arguments: str) -> Iterator[Running]:
        """Start a process that goes on; its lines are read from `stdout`."""
        process = subprocess.Popen(  # noqa: S603  # our own interpreter
            [*MODULE, *arguments],
            cwd=self.folder,
            env=BARE | self.variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_hear_interrupts,
        )
        with process:
            try:
                yield process
            finally:
                process.kill()

    def json(self, *arguments: str) -> Any:
        """What one prints that must succeed."""
        done = self(*arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def _hear_interrupts() -> None:
    """A process started in the background of a shell ignores SIGINT, and so would its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Stream(io.TextIOWrapper):
    """Keeps what the thread that made it writes; what others write meanwhile goes where it went before."""

    def __init__(self, before: TextIO) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)
        self._before = before
        self._thread = threading.get_ident()

    @override
    def write(self, text: str) -> int:
        if threading.get_ident() == self._thread:
            return super().write(text)
        return self._before.write(text)

    def text(self) -> str:
        """What was written."""
        self.seek(0)
        return self.read()


def run_here(arguments: tuple[str, ...], environment: dict[str, str], given: str) -> Done:
    """Run a command in this thread as if it had the process to itself, and leave the process as it was."""
    stdout, stderr = Stream(sys.stdout), Stream(sys.stderr)
    stdin = io.TextIOWrapper(io.BytesIO(given.encode()), encoding="utf-8")
    changed: dict[str, Any] = {"argv": ["soniox-relay", *arguments], "excepthook": sys.excepthook}
    changed |= {"stdin": stdin, "stdout": stdout, "stderr": stderr}
    with (
        mock.patch.dict(os.environ, environment, clear=True),
        mock.patch.multiple(sys, **changed),
        mock.patch("typer.rich_utils.FORCE_TERMINAL", None),  # set at its import from variables of CI systems
        fresh_logs(),
    ):
        code = exit_code(main)
    return subprocess.CompletedProcess(arguments, code, stdout.text(), stderr.text())


def exit_code(command: Callable[[], None]) -> int:
    """How the process would have ended. What a command does not catch fails the test."""
    try:
        command()
    except SystemExit as ending:
        code = ending.code or 0
    else:
        code = 0
    assert isinstance(code, int), code
    return code


@contextlib.contextmanager
def fresh_logs() -> Iterator[None]:
    """Logs as a new process has them; what the block configures is undone.

    Loggers must not cache the block's configuration: they would keep it for the rest of the tests.
    """
    root = logging.getLogger()
    before = structlog.get_config() if structlog.is_configured() else None
    named = [one for one in root.manager.loggerDict.values() if isinstance(one, logging.Logger)]
    levels = {logger: logger.level for logger in [root, *named]}
    handlers, root.handlers = root.handlers, []
    structlog.reset_defaults()
    try:
        with mock.patch("structlog.configure", partial(_configure_uncached, structlog.configure)):
            yield
    finally:
        structlog.reset_defaults()
        if before is not None:
            structlog.configure(**before)
        root.handlers = handlers
        for logger, level in levels.items():
            logger.setLevel(level)


def _configure_uncached(configure: Callable[..., None], **options: Any) -> None:
    configure(**options | {"cache_logger_on_first_use": False})


@dataclass(frozen=True)
class Installation:
    """A relay in a thread, an operator in its folder with its settings, a user who knows only its URL and key."""

    relay: ThreadedRelayApp
    operator: Cli
    user: Cli


@contextlib.contextmanager
def open_installation(parent: Path) -> Iterator[Installation]:
    """Everything running, in folders of its own below `parent`."""
    folder, home = parent / "relay", parent / "user"
    folder.mkdir()
    home.mkdir()
    database_url = new_sqlite(folder)
    with relay_app_in_thread(database_url, relay_reconcile_interval_s=3600, relay_reconcile_grace_s=0) as relay:
        variables = SECRETS | {
            "SONIOX_API_BASE_URL": relay.relay_app.neighbours.soniox_url,
            "DATABASE_URL": database_url,
            "PORT": str(relay.relay_app.server.port),
            "RELAY_ALLOWED_DESTINATIONS": "127.0.0.1",
            "RELAY_RECONCILE_INTERVAL_S": "3600",
            "RELAY_RECONCILE_GRACE_S": "0",
        }
        relay.do(until_ready)
        user = Cli(home, {"RELAY_API_KEY": ADMIN_KEY, "RELAY_URL": relay.url})
        yield Installation(relay, Cli(folder, variables), user)


async def until_ready(relay_app: RelayApp) -> None:
    """Wait for the worker and the reconciler to give signs of life."""

    async def is_ready() -> bool:
        return (await relay_app.client.get("/readyz")).status_code == 200

    await relay_app.until(is_ready)
