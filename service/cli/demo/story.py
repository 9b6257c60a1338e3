"""The demo's story: one recording's way through the relay, watched from both ends, and checked."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from service.cli.demo.household import HERE, Household, open_household
from service.cli.demo.receiver import Notification, Receiver, open_receiver
from service.cli.demo.screen import Screen
from service.cli.problems import Problem, TimedOut
from service.sandbox.speech import recording_path, recording_text

JOBS = "/v1/transcriptions"
WITHIN_S = 30
LOOK_EVERY_S = 0.01

# With these the recording is still being processed when the relay is killed, and Soniox's next tries come soon.
CRASHING = {"processing_ms": 2000, "time_factor": 0.1}
SOON = {"RELAY_RECONCILE_INTERVAL_S": "1", "RELAY_RECONCILE_GRACE_S": "3", "RELAY_DELIVERY_SCHEDULE_S": "1,2,4,8"}


@dataclass(frozen=True)
class Stage:
    """Who plays in the story."""

    house: Household
    receiver: Receiver
    screen: Screen


@dataclass(frozen=True)
class Ending:
    """What came of it."""

    job: dict[str, Any]
    transcript: dict[str, Any]
    notification: Notification
    event: dict[str, Any]


def tell(*, crash: bool) -> None:
    """Run it. Raises Problem unless everything really happened."""
    screen = Screen()
    screen.headline("Starting the Soniox sandbox, the relay and a receiver")
    pace: dict[str, Any] = {**CRASHING, **SOON} if crash else {}
    with open_household(**pace) as house, open_receiver(HERE) as receiver:
        stage = Stage(house, receiver, screen)
        ending = _play(stage, crash=crash)
        _show(stage, ending)


def _play(stage: Stage, *, crash: bool) -> Ending:
    client, screen = stage.house.client, stage.screen
    endpoint = client.ask("POST", "/v1/endpoints", json={"url": stage.receiver.url}).json()
    screen.headline(
        f"Submitting {recording_path().name}, {recording_path().stat().st_size / 1000:.0f} kB of speech"
    )
    screen.begin(time.time())
    job_id = _submit(stage)
    if crash:
        _crash(stage, "right after the 201")
    _told_by_timeline(stage, job_id, "submitted", "submitted to Soniox")
    if crash:
        _crash(stage, "while Soniox was at work")
    job = _watch_the_result_come(stage, job_id)
    notification = stage.receiver.next_one(WITHIN_S)
    event = notification.verified(endpoint["secret"])
    screen.step(notification.at_s, "notification delivered, verified", notification.event_id)
    _until(lambda: _holdings(stage) == 0, "Soniox's copies are removed")
    screen.step(time.time(), "Soniox's copies removed", "0 transcriptions, 0 files left there")
    return Ending(job, client.get(f"{JOBS}/{job_id}/transcript"), notification, event)


def _submit(stage: Stage) -> str:
    with recording_path().open("rb") as file:
        request = json.dumps({"model": "stt-async-v5", "metadata": {"from": "the demo"}})
        parts = {"request": (None, request), "file": (recording_path().name, file)}
        job = stage.house.client.ask("POST", JOBS, files=parts).json()
    stage.screen.step(time.time(), "accepted, on disk", f"201, {job['id']}")
    return str(job["id"])


def _crash(stage: Stage, moment: str) -> None:
    stage.house.relay.kill()
    stage.screen.crash(f"to the relay, {moment}")
    stage.house.relay.start()
    stage.house.relay.wait_until_ready()
    stage.screen.step(time.time(), "relay back", "same database")


def _watch_the_result_come(stage: Stage, job_id: str) -> dict[str, Any]:
    """Until the transcript is stored; tells of the webhook as soon as Soniox has seen it answered."""
    heard_at_s: list[float] = []

    def is_stored() -> bool:
        if not heard_at_s and _at_soniox(stage)["webhooks"]["delivered"]:
            heard_at_s.append(time.time())
            stage.screen.step(heard_at_s[0], "webhook received", "header checked, on disk, 200")
        return bool(stage.house.client.get(f"{JOBS}/{job_id}")["stage"] in {"completed", "failed"})

    _until(is_stored, "the transcript is stored")
    job = stage.house.client.get(f"{JOBS}/{job_id}")
    if job["stage"] == "failed":
        raise Problem(f"the transcription failed: {job['error_type']}: {job['error_message']}")
    _told_by_timeline(stage, job_id, "completed", "transcript stored")
    return job


def _told_by_timeline(stage: Stage, job_id: str, step: str, what: str) -> None:
    """Wait for a step of the job and tell of it with the relay's own time."""
    found: list[dict[str, Any]] = []

    def has_come() -> bool:
        timeline = stage.house.client.get(f"{JOBS}/{job_id}")["timeline"]
        found[:] = [entry for entry in timeline if entry["step"] == step]
        return bool(found)

    _until(has_come, what)
    at_s = datetime.fromisoformat(found[0]["at"]).timestamp()
    stage.screen.step(at_s, what, found[0]["detail"] or f"learned from the {found[0]['source']}")


def _show(stage: Stage, ending: Ending) -> None:
    stage.screen.transcript(ending.transcript["text"])
    stage.screen.notification(ending.notification)
    results = [(passed, what) for what, passed in _checks(stage, ending).items()]
    for passed, what in results:
        stage.screen.check(passed, what)
    if not all(passed for passed, _ in results):
        raise Problem("the demo did not end as it should")


def _checks(stage: Stage, ending: Ending) -> dict[str, bool]:
    jobs = stage.house.client.get(JOBS)["transcriptions"]
    events = {came.event_id for came in [ending.notification, *stage.receiver.rest()]}
    return {
        "the transcript is the recording's text, word for word": ending.transcript["text"] == recording_text(),
        "the notification is the job's own": ending.event["type"] == "transcription.completed"
        and ending.event["data"]["id"] == ending.job["id"],
        "exactly one transcription was created at Soniox": _at_soniox(stage)["counts"]["created_ever"] == 1,
        "exactly one job, with one result": [job["status"] for job in jobs] == ["completed"],
        "exactly one event": len(events) == 1,
    }


def _at_soniox(stage: Stage) -> dict[str, Any]:
    return dict(stage.house.soniox.get("/_sandbox/state").json())


def _holdings(stage: Stage) -> int:
    counts = _at_soniox(stage)["counts"]
    return int(counts["transcriptions"] + counts["files"])


def _until(happened: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not happened():
        if time.monotonic() > deadline:
            raise TimedOut(f"waited {WITHIN_S} s in vain for this: {what}")
        time.sleep(LOOK_EVERY_S)
