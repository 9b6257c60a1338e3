"""Commands as subprocesses, and a town for them: sandbox (made-up transcripts), relay, a user, an operator."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from service.cli.demo.child import Child
from service.cli.demo.household import free_port

SONIOX_KEY = "soniox-key-of-the-cli-tests-0001"
WEBHOOK_SECRET = "webhook-secret-of-the-cli-tests-1"
RELAY_KEY = "relay-key-of-the-cli-tests-00001"
SECRETS = {
    "SONIOX_API_KEY": SONIOX_KEY,
    "SONIOX_API_WEBHOOK_SECRET": WEBHOOK_SECRET,
    "RELAY_API_KEY": RELAY_KEY,
}
BARE = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}


@dataclass(frozen=True)
class Cli:
    """Runs commands in a folder, with these variables and no others of ours."""

    folder: Path
    variables: dict[str, str]

    def __call__(
        self, *arguments: str, given: str | None = None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run one to its end, with `given` on its standard input."""
        return subprocess.run(  # noqa: S603  # our own interpreter
            [sys.executable, "-m", "service", *arguments],
            cwd=self.folder,
            env=BARE | self.variables | variables,
            input=given,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @contextmanager
    def running(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Start one that goes on; its lines are read from `stdout`."""
        process = subprocess.Popen(  # noqa: S603  # our own interpreter
            [sys.executable, "-m", "service", *arguments],
            cwd=self.folder,
            env=BARE | self.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
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


@dataclass(frozen=True)
class Town:
    """A sandbox that makes transcripts up, a relay, and a user who knows only the relay's key and URL."""

    user: Cli
    operator: Cli
    relay_url: str
    soniox_url: str
    relay: Child

    def faults(self, **knobs: Any) -> None:
        httpx.put(f"{self.soniox_url}/_sandbox/faults", json=knobs, trust_env=False).raise_for_status()


@contextmanager
def open_town(parent: Path) -> Iterator[Town]:
    """Everything running, in folders of its own below `parent`."""
    folder, home = parent / "town", parent / "user"
    folder.mkdir()
    home.mkdir()
    relay_port, soniox_port = free_port(), free_port()
    relay_url, soniox_url = f"http://127.0.0.1:{relay_port}", f"http://127.0.0.1:{soniox_port}"
    variables = SECRETS | {"SONIOX_API_BASE_URL": soniox_url, "PORT": str(relay_port)}
    variables |= {"RELAY_RECONCILE_INTERVAL_S": "3600", "RELAY_RECONCILE_GRACE_S": "0"}
    variables |= {"RELAY_ALLOWED_DESTINATIONS": "127.0.0.1"}
    double = ["sandbox", "--recognise", "script", "--port", str(soniox_port), "--api-key", SONIOX_KEY]
    children = [
        Child("sandbox", double, folder, BARE, f"{soniox_url}/_sandbox/state"),
        Child("relay", ["serve"], folder, BARE | variables, f"{relay_url}/readyz"),
    ]
    try:
        for child in children:
            child.start()
        for child in children:
            child.wait_until_ready()
        user = Cli(home, {"RELAY_API_KEY": RELAY_KEY, "RELAY_URL": relay_url})
        yield Town(user, Cli(folder, variables), relay_url, soniox_url, children[1])
    finally:
        for child in reversed(children):
            child.end()
