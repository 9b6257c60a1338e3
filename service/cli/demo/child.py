"""A server as a child process of ours: started, waited for, ended, killed."""

import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from service.cli.problems import Problem, TimedOut

READY_WITHIN_S = 120  # the first start after an installation, on a machine that is busy
LOOK_EVERY_S = 0.05
ANSWER_WITHIN_S = 5
END_WITHIN_S = 12
LAST_LINES = 15


@dataclass
class Child:
    """One `soniox-relay` command. Its output goes to a file in `folder`, which is its working directory."""

    name: str
    arguments: list[str]
    folder: Path
    environment: dict[str, str]
    ready_url: str
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start it; `wait_until_ready` says when it can be used."""
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
        """Return once it answers 200. Raises Problem with the last lines it wrote if it does not."""
        deadline = time.monotonic() + READY_WITHIN_S
        with httpx.Client(timeout=ANSWER_WITHIN_S, trust_env=False) as client:
            while not self._answers(client):
                if not self.is_running():
                    raise Problem(f"the {self.name} ended before it was ready", self.last_words())
                if time.monotonic() > deadline:
                    raise TimedOut(f"the {self.name} is not ready after {READY_WITHIN_S} s", self.last_words())
                time.sleep(LOOK_EVERY_S)

    def is_running(self) -> bool:
        """True between start and end."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL: no last word, no clean-up."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def end(self) -> None:
        """SIGTERM, and SIGKILL when that does not help."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def last_words(self) -> str:
        """The end of its log."""
        return "\n  ".join(self._log.read_text("utf-8", "replace").splitlines()[-LAST_LINES:])

    def _answers(self, client: httpx.Client) -> bool:
        try:
            return client.get(self.ready_url).status_code == 200
        except httpx.HTTPError:
            return False

    @property
    def _log(self) -> Path:
        return self.folder / f"{self.name}.log"
