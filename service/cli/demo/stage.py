"""Who plays in the demo, and how it looks at both ends of the relay."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from service.cli.client import JOBS, job_path
from service.cli.demo.household import Household
from service.cli.demo.receiver import Receiver
from service.cli.demo.screen import Screen
from service.cli.problems import TimedOut

WITHIN_S = 120  # on a machine that is busy
LOOK_EVERY_S = 0.01


@dataclass(frozen=True)
class Stage:
    """The players."""

    house: Household
    receiver: Receiver
    screen: Screen

    def post(self, path: str, **request: Any) -> dict[str, Any]:
        """What the relay answers to a POST."""
        return dict(self.house.client.ask("POST", path, **request).json())

    def job(self, job_id: str) -> dict[str, Any]:
        """The transcription as the relay tells it, with its timeline."""
        return self.house.client.get(job_path(job_id))

    def transcript(self, job_id: str) -> str:
        """The text that the relay has stored."""
        return str(self.house.client.get(f"{job_path(job_id)}/transcript")["text"])

    def jobs(self) -> list[dict[str, Any]]:
        """All transcriptions that the relay knows."""
        return list(self.house.client.get(JOBS)["transcriptions"])

    def at_soniox(self) -> dict[str, Any]:
        """What the sandbox counts."""
        return dict(self.house.soniox.get("/_sandbox/state").json())


def until(happened: Callable[[], bool], what: str) -> None:
    """Look again and again. Raises TimedOut."""
    deadline = time.monotonic() + WITHIN_S
    while not happened():
        if time.monotonic() > deadline:
            raise TimedOut(f"waited {WITHIN_S} s in vain for this: {what}")
        time.sleep(LOOK_EVERY_S)
