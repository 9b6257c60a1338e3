"""The demo's story: one recording's way through the relay, told as it happens."""

import json
import time
from datetime import datetime
from typing import Any

from service.cli.client import JOBS
from service.cli.demo.ending import Ending, show
from service.cli.demo.household import HERE, free_port, open_household
from service.cli.demo.receiver import open_receiver
from service.cli.demo.screen import Screen
from service.cli.demo.stage import WITHIN_S, Stage, until
from service.cli.problems import Problem, TimedOut
from service.sandbox.speech import recording_path

# Soniox is still at work when the relay is killed, and what comes too early comes again soon.
SLOW_WORK = {"--processing-ms": "2000", "--time-factor": "0.1"}
SOON_AGAIN = {
    "RELAY_RECONCILE_INTERVAL_S": "1",
    "RELAY_RECONCILE_GRACE_S": "3",
    "RELAY_DELIVERY_SCHEDULE_S": "1,2,4,8",
}


def tell(*, crash: bool) -> None:
    """Run it. Raises Problem unless everything really happened."""
    screen = Screen()
    screen.headline("Starting the Soniox sandbox, the relay and a receiver")
    pace, settings = (SLOW_WORK, SOON_AGAIN) if crash else ({}, {})
    with open_household(free_port(), settings=settings, pace=pace) as house, open_receiver(HERE) as receiver:
        stage = Stage(house, receiver, screen)
        try:
            show(stage, _play(stage, crash=crash), crashed=crash)
        except TimedOut as problem:
            raise TimedOut(problem.message, f"the relay's last words:\n  {house.relay.last_words()}") from None


def _play(stage: Stage, *, crash: bool) -> Ending:
    endpoint = stage.post("/v1/endpoints", json={"url": stage.receiver.url})
    job_id = _submit(stage)
    if crash:
        _crash(stage, "right after the 201")
    _wait_for_step(stage, job_id, "submitted", "submitted to Soniox")
    if crash:
        _crash(stage, "while Soniox is at work")
    _watch_the_result_come(stage, job_id)
    notification = stage.receiver.next_one(WITHIN_S)
    event = notification.verified(endpoint["secret"])
    stage.screen.step(notification.at_s, "notification delivered, verified", notification.event_id)
    _watch_soniox_become_empty(stage)
    return Ending(stage.job(job_id), stage.transcript(job_id), notification, event)


def _submit(stage: Stage) -> str:
    path = recording_path()
    stage.screen.headline(f"Submitting {path.name}, {path.stat().st_size / 1000:.0f} kB of speech")
    stage.screen.begin(time.time())
    request = json.dumps({"model": "stt-async-v5", "metadata": {"from": "the demo"}})
    with path.open("rb") as file:
        job = stage.post(JOBS, files={"request": (None, request), "file": (path.name, file)})
    stage.screen.step(time.time(), "accepted, on disk", f"201, {job['id']}")
    return str(job["id"])


def _crash(stage: Stage, moment: str) -> None:
    stage.house.relay.kill()
    stage.screen.crash(f"to the relay, {moment}")
    stage.house.relay.start()
    stage.house.relay.wait_until_ready()
    stage.screen.step(time.time(), "relay back", "same database")


def _watch_the_result_come(stage: Stage, job_id: str) -> None:
    def webhook_or_result() -> bool:
        return _webhook_was_taken_in(stage) or _is_over(stage, job_id)

    until(webhook_or_result, "Soniox's webhook, or a result without it")
    seen_at_s = time.time()
    until(lambda: _is_over(stage, job_id), "the result is stored")
    job = stage.job(job_id)
    if job["stage"] == "failed":
        raise Problem(f"the transcription failed: {job['error_type']}: {job['error_message']}")
    if _webhook_was_taken_in(stage):
        # We may see it later than the relay, but it came no later than what was learned from it.
        at_s = min(seen_at_s, _at_s(_entries(stage, job_id, "completed")[0]))
        stage.screen.step(at_s, "webhook received", "header checked, on disk, 200")
    _wait_for_step(stage, job_id, "completed", "transcript stored")


def _webhook_was_taken_in(stage: Stage) -> bool:
    return bool(stage.at_soniox()["webhooks"]["delivered"])


def _is_over(stage: Stage, job_id: str) -> bool:
    return stage.job(job_id)["stage"] in {"completed", "failed"}


def _watch_soniox_become_empty(stage: Stage) -> None:
    def is_empty() -> bool:
        counts = stage.at_soniox()["counts"]
        return bool(counts["transcriptions"] + counts["files"] == 0)

    until(is_empty, "Soniox's copies are removed")
    stage.screen.step(time.time(), "Soniox's copies removed", "0 transcriptions, 0 files left there")


def _wait_for_step(stage: Stage, job_id: str, step: str, what: str) -> None:
    """Wait until the job's timeline has it, and tell of it with the relay's own time."""
    until(lambda: bool(_entries(stage, job_id, step)), what)
    entry = _entries(stage, job_id, step)[0]
    stage.screen.step(_at_s(entry), what, entry["detail"] or f"learned from the {entry['source']}")


def _at_s(entry: dict[str, Any]) -> float:
    return datetime.fromisoformat(entry["at"]).timestamp()


def _entries(stage: Stage, job_id: str, step: str) -> list[dict[str, Any]]:
    return [entry for entry in stage.job(job_id)["timeline"] if entry["step"] == step]
