"""The demo's end: what came of it, and whether all of it is true."""

from dataclasses import dataclass
from typing import Any

from service.cli.demo.receiver import Notification
from service.cli.demo.stage import Stage
from service.cli.problems import Problem
from service.sandbox.speech import recording_text


@dataclass(frozen=True)
class Ending:
    """What came of it."""

    job: dict[str, Any]
    transcript: str
    notification: Notification
    event: dict[str, Any]


def show(stage: Stage, ending: Ending, *, crashed: bool) -> None:
    """Show the result and check it. Raises Problem when a check fails."""
    stage.screen.transcript(ending.transcript)
    stage.screen.notification(ending.notification)
    checks = _checks(stage, ending)
    if not crashed:
        checks["the result was learned from Soniox's webhook"] = _source(ending.job) == "webhook"
    for what, passed in checks.items():
        stage.screen.check(passed, what)
    if not all(checks.values()):
        raise Problem("the demo did not end as it should")


def _checks(stage: Stage, ending: Ending) -> dict[str, bool]:
    told = (ending.event["type"], ending.event["data"]["id"])
    events = {came.event_id for came in [ending.notification, *stage.receiver.rest()]}
    return {
        "the transcript is the recording's text, word for word": ending.transcript == recording_text(),
        "the notification tells of this job": told == ("transcription.completed", ending.job["id"]),
        "exactly one transcription was created at Soniox": stage.at_soniox()["counts"]["created_ever"] == 1,
        "exactly one job, with one result": [job["status"] for job in stage.jobs()] == ["completed"],
        "exactly one event": len(events) == 1,
    }


def _source(job: dict[str, Any]) -> str:
    return next((str(entry["source"]) for entry in job["timeline"] if entry["step"] == "completed"), "")
