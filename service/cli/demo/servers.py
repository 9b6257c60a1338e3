"""Run the sandbox and the relay as child processes, in a temporary folder with new secrets."""

import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from service.cli.client import RelayClient, open_client
from service.cli.console import CommandError, TimedOutError, stdout_console
from service.cli.serve import listen
from service.crypto import new_api_key
from service.sandbox.speech import recording_path
from service.settings import Settings

READY_WITHIN_S = 120  # enough for the first start after an installation, on a busy machine
LOOK_EVERY_S = 0.05
ANSWER_WITHIN_S = 5
END_WITHIN_S = 12
LOG_TAIL = 15


@dataclass
class ServerProcess:
    """A process of one `soniox-relay` command. It runs in `folder` and writes its log there."""

    name: str
    arguments: list[str]
    folder: Path
    environment: dict[str, str]
    ready_url: str
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start the process. Call `wait_until_ready` before using it."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  # our own interpreter, our own arguments
                [sys.executable, "-m", "service", *self.arguments],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def wait_until_ready(self) -> None:
        """Return once `ready_url` answers 200. Raises CommandError with the last lines of the log otherwise."""
        deadline = time.monotonic() + READY_WITHIN_S
        with httpx.Client(timeout=ANSWER_WITHIN_S, trust_env=False) as client:
            while not self._answers(client):
                if not self.is_running():
                    raise CommandError(f"the {self.name} ended before it was ready", self.last_words())
                if time.monotonic() > deadline:
                    raise TimedOutError(
                        f"the {self.name} is not ready after {READY_WITHIN_S} s", self.last_words()
                    )
                time.sleep(LOOK_EVERY_S)

    def is_running(self) -> bool:
        """Return True while the process is running."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """Send SIGKILL and wait for the exit. The process cannot clean up."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def end(self) -> None:
        """Send SIGTERM, and SIGKILL if the process does not exit within END_WITHIN_S."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def last_words(self) -> str:
        """Return the last lines of the log."""
        return "\n  ".join(self._log.read_text("utf-8", "replace").splitlines()[-LOG_TAIL:])

    def _answers(self, client: httpx.Client) -> bool:
        try:
            return client.get(self.ready_url).status_code == 200
        except httpx.HTTPError:
            return False

    @property
    def _log(self) -> Path:
        return self.folder / f"{self.name}.log"


HERE = "127.0.0.1"
FIRST_EPHEMERAL = 32_768  # Linux uses the ports from here on for outgoing connections


@dataclass(frozen=True)
class DemoServers:
    """Both running servers, and a client for each."""

    relay: ServerProcess
    relay_url: str
    relay_key: str
    client: RelayClient
    sandbox: ServerProcess
    soniox: httpx.Client


@contextmanager
def open_servers(
    relay_port: int, *, settings: Mapping[str, str] | None = None, pace: Mapping[str, str] | None = None
) -> Iterator[DemoServers]:
    """Start both servers and end them when the block ends, also on an error.

    `settings` are additional variables of the relay, `pace` additional options of the sandbox.
    """
    soniox_key, relay_key, sandbox_port = secrets.token_urlsafe(32), new_api_key(), free_port()
    relay_url, soniox_url = f"http://{HERE}:{relay_port}", f"http://{HERE}:{sandbox_port}"
    options = {"--port": str(sandbox_port), "--api-key": soniox_key, **(pace or {})}
    variables = {
        "SONIOX_API_KEY": soniox_key,
        "SONIOX_API_BASE_URL": soniox_url,
        "SONIOX_API_WEBHOOK_SECRET": secrets.token_urlsafe(32),
        "RELAY_API_KEY": relay_key,
        "RELAY_ALLOWED_DESTINATIONS": HERE,
        "PORT": str(relay_port),
        **(settings or {}),
    }
    bare = _environment_without_settings()
    with tempfile.TemporaryDirectory(prefix="soniox-relay-") as name:
        arguments = ["sandbox", *(word for option in options.items() for word in option)]
        sandbox = ServerProcess("sandbox", arguments, Path(name), bare, f"{soniox_url}/_sandbox/state")
        relay = ServerProcess("relay", ["serve"], Path(name), bare | variables, f"{relay_url}/readyz")
        with (
            _running_server(sandbox, relay),
            open_client(relay_url, relay_key) as client,
            httpx.Client(base_url=soniox_url, trust_env=False) as soniox,
        ):
            yield DemoServers(relay, relay_url, relay_key, client, sandbox, soniox)


def free_port() -> int:
    """Return a free port below the range that the system uses for outgoing connections."""
    while True:
        port = random.randrange(10_000, FIRST_EPHEMERAL)  # noqa: S311  # not a secret
        with suppress(OSError):
            socket.create_server((HERE, port)).close()
            return port


@contextmanager
def _running_server(*children: ServerProcess) -> Iterator[None]:
    """Run the servers until the block ends. SIGTERM acts like Ctrl-C, so that no child process remains."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for child in children:
            child.start()
        for child in children:
            child.wait_until_ready()
        yield
    finally:
        for child in reversed(children):
            child.end()
        signal.signal(signal.SIGTERM, before)


def _environment_without_settings() -> dict[str, str]:
    ours = {name.upper() for name in Settings.model_fields}
    return {name: value for name, value in os.environ.items() if name.upper().removesuffix("_FILE") not in ours}


GREETING = """
[bold]Soniox Relay[/bold] with the Soniox sandbox behind it. Ctrl-C ends both; nothing is kept.

  dashboard  {url}/ui
  API        {url}/v1, to read and try at {url}/docs
  API key    {key}

In another terminal:

  export RELAY_URL={url} RELAY_API_KEY={key} SANDBOX={sandbox}
  {program} submit {recording} --wait
  curl -H "Authorization: Bearer $RELAY_API_KEY" \\
       -F 'request={{"model":"stt-async-v5"}}' -F file=@{recording} $RELAY_URL/v1/transcriptions
"""


def run_until_interrupted(port: int) -> None:
    """Run both servers until Ctrl-C. Raises CommandError when one of them exits."""
    with listen(HERE, port) as free:
        port = free.getsockname()[1]
    stdout_console().print("Starting the Soniox sandbox and the relay")
    with open_servers(port) as house:
        stdout_console().print(_greeting(house), soft_wrap=True)
        try:
            _wait_for_interrupt(house)
        except KeyboardInterrupt:
            stdout_console().print("ending both")


def _greeting(house: DemoServers) -> str:
    return GREETING.format(
        url=house.relay_url,
        key=house.relay_key,
        sandbox=str(house.soniox.base_url).rstrip("/"),
        program=_program(),
        recording=_from_here(recording_path()),
    )


def _program() -> str:
    """Return how to call the command line, which is rarely on the path in a new clone."""
    return "soniox-relay" if shutil.which("soniox-relay") else str(_from_here(Path(sys.argv[0])))


def _from_here(path: Path) -> Path:
    """Return `path` relative to the working directory, if it is inside."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _wait_for_interrupt(house: DemoServers) -> None:
    while True:
        for child in (house.relay, house.sandbox):
            if not child.is_running():
                raise CommandError(f"the {child.name} ended unexpectedly", child.last_words())
        time.sleep(0.5)
