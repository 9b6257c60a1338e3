"""The demo: one recording passes through the relay, shown step by step."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.text import Text

from service.cli.client import JOBS, job_path
from service.cli.console import CommandError, TimedOutError, stdout_console
from service.cli.demo.receiver import DemoReceiver, Notification, open_receiver
from service.cli.demo.servers import HERE, DemoServers, free_port, open_servers
from service.sandbox.speech import recording_path, recording_text


class Screen:
    """Prints lines with times, counted from `begin`."""

    def __init__(self) -> None:
        self._console: Console = stdout_console()
        self._zero_s = 0.0
        self._last_s = 0.0

    def headline(self, text: str) -> None:
        """Print a heading."""
        self._console.print(Text(f"\n{text}", style="bold"))

    def begin(self, at_s: float) -> None:
        """Count times from the wall time `at_s`."""
        self._zero_s = self._last_s = at_s

    def step(self, at_s: float, what: str, detail: str = "") -> None:
        """Print a step that happened at the wall time `at_s`."""
        since_start, since_last = at_s - self._zero_s, at_s - self._last_s
        line = Text.assemble(
            (f"{since_start:8.3f} s ", "cyan"), (f"{since_last:+8.3f}  ", "dim"), f"{what:<34}", (detail, "dim")
        )
        self._last_s = at_s
        self._console.print(line, soft_wrap=True)

    def crash(self, what: str) -> None:
        """Print a crash that the demo caused."""
        self._console.print(Text(f"           SIGKILL  {what}", style="bold red"), soft_wrap=True)

    def transcript(self, text: str) -> None:
        """Print the transcript."""
        self.headline("The transcript")
        self._console.print(Text(text), soft_wrap=True)

    def notification(self, came: Notification) -> None:
        """Print the signature headers, and the body as it was signed."""
        self.headline("The notification, verified with the standardwebhooks library")
        for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
            self._console.print(Text(f"{name}: {came.headers[name]}"), soft_wrap=True)
        self._console.print(Text(f"\n{came.body.decode()}\n"), soft_wrap=True)

    def check(self, passed: bool, what: str) -> None:
        """Print the result of one check."""
        self._console.print(
            Text(f"  {'ok    ' if passed else 'FAILED'}  {what}", "green" if passed else "bold red")
        )


WITHIN_S = 120  # enough for a busy machine
LOOK_EVERY_S = 0.01


@dataclass(frozen=True)
class DemoContext:
    """The servers, the receiver and the screen of one demo."""

    house: DemoServers
    receiver: DemoReceiver
    screen: Screen

    def post(self, path: str, **request: Any) -> dict[str, Any]:
        """Send a POST to the relay and return its JSON object."""
        return dict(self.house.client.ask("POST", path, **request).json())

    def job(self, job_id: str) -> dict[str, Any]:
        """Return the transcription, with its timeline, from the relay."""
        return self.house.client.get(job_path(job_id))

    def transcript(self, job_id: str) -> str:
        """Return the text of the stored transcript."""
        return str(self.house.client.get(f"{job_path(job_id)}/transcript")["text"])

    def jobs(self) -> list[dict[str, Any]]:
        """Return all transcriptions of the relay."""
        return list(self.house.client.get(JOBS)["transcriptions"])

    def at_soniox(self) -> dict[str, Any]:
        """Return the state of the sandbox."""
        return dict(self.house.soniox.get("/_sandbox/state").json())


def until(happened: Callable[[], bool], what: str) -> None:
    """Poll until `happened` returns True. Raises TimedOutError after WITHIN_S."""
    deadline = time.monotonic() + WITHIN_S
    while not happened():
        if time.monotonic() > deadline:
            raise TimedOutError(f"waited {WITHIN_S} s in vain for this: {what}")
        time.sleep(LOOK_EVERY_S)


@dataclass(frozen=True)
class DemoSummary:
    """The results of one demo."""

    job: dict[str, Any]
    transcript: str
    notification: Notification
    event: dict[str, Any]


def show_summary(stage: DemoContext, ending: DemoSummary, *, crashed: bool) -> None:
    """Print the results and check them. Raises CommandError when a check fails."""
    stage.screen.transcript(ending.transcript)
    stage.screen.notification(ending.notification)
    checks = _checks(stage, ending)
    if not crashed:
        checks["the result was learned from Soniox's webhook"] = _result_source(ending.job) == "webhook"
    for what, passed in checks.items():
        stage.screen.check(passed, what)
    if not all(checks.values()):
        raise CommandError("the demo did not end as it should")


def _checks(stage: DemoContext, ending: DemoSummary) -> dict[str, bool]:
    told = (ending.event["type"], ending.event["data"]["id"])
    events = {came.event_id for came in [ending.notification, *stage.receiver.rest()]}
    return {
        "the transcript is the recording's text, word for word": ending.transcript == recording_text(),
        "the notification tells of this job": told == ("transcription.completed", ending.job["id"]),
        "exactly one transcription was created at Soniox": stage.at_soniox()["counts"]["created_ever"] == 1,
        "exactly one job, with one result": [job["status"] for job in stage.jobs()] == ["completed"],
        "exactly one event": len(events) == 1,
    }


def _result_source(job: dict[str, Any]) -> str:
    return next((str(entry["source"]) for entry in job["timeline"] if entry["step"] == "completed"), "")


# The sandbox is still processing when the relay is killed, and repeats early webhooks soon.
SLOW_PROCESSING = {"--processing-ms": "2000", "--time-factor": "0.1"}
SHORT_RETRIES = {
    "RELAY_RECONCILE_INTERVAL_S": "1",
    "RELAY_RECONCILE_GRACE_S": "3",
    "RELAY_DELIVERY_SCHEDULE_S": "1,2,4,8",
}


def run_demo(*, crash: bool) -> None:
    """Run the demo. Raises CommandError when a step or a check fails."""
    screen = Screen()
    screen.headline("Starting the Soniox sandbox, the relay and a receiver")
    pace, settings = (SLOW_PROCESSING, SHORT_RETRIES) if crash else ({}, {})
    with open_servers(free_port(), settings=settings, pace=pace) as house, open_receiver(HERE) as receiver:
        stage = DemoContext(house, receiver, screen)
        try:
            show_summary(stage, _run_scenario(stage, crash=crash), crashed=crash)
        except TimedOutError as problem:
            raise TimedOutError(
                problem.message, f"the relay's last words:\n  {house.relay.last_words()}"
            ) from None


def _run_scenario(stage: DemoContext, *, crash: bool) -> DemoSummary:
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
    return DemoSummary(stage.job(job_id), stage.transcript(job_id), notification, event)


def _submit(stage: DemoContext) -> str:
    path = recording_path()
    stage.screen.headline(f"Submitting {path.name}, {path.stat().st_size / 1000:.0f} kB of speech")
    stage.screen.begin(time.time())
    request = json.dumps({"model": "stt-async-v5", "metadata": {"from": "the demo"}})
    with path.open("rb") as file:
        job = stage.post(JOBS, files={"request": (None, request), "file": (path.name, file)})
    stage.screen.step(time.time(), "accepted, on disk", f"201, {job['id']}")
    return str(job["id"])


def _crash(stage: DemoContext, moment: str) -> None:
    stage.house.relay.kill()
    stage.screen.crash(f"to the relay, {moment}")
    stage.house.relay.start()
    stage.house.relay.wait_until_ready()
    stage.screen.step(time.time(), "relay back", "same database")


def _watch_the_result_come(stage: DemoContext, job_id: str) -> None:
    def webhook_or_result() -> bool:
        return _webhook_was_taken_in(stage) or _is_over(stage, job_id)

    until(webhook_or_result, "Soniox's webhook, or a result without it")
    seen_at_s = time.time()
    until(lambda: _is_over(stage, job_id), "the result is stored")
    job = stage.job(job_id)
    if job["stage"] == "failed":
        raise CommandError(f"the transcription failed: {job['error_type']}: {job['error_message']}")
    if _webhook_was_taken_in(stage):
        # The demo may see the webhook late, but it arrived before the result that it announced.
        at_s = min(seen_at_s, _at_s(_entries(stage, job_id, "completed")[0]))
        stage.screen.step(at_s, "webhook received", "header checked, on disk, 200")
    _wait_for_step(stage, job_id, "completed", "transcript stored")


def _webhook_was_taken_in(stage: DemoContext) -> bool:
    return bool(stage.at_soniox()["webhooks"]["delivered"])


def _is_over(stage: DemoContext, job_id: str) -> bool:
    return stage.job(job_id)["stage"] in {"completed", "failed"}


def _watch_soniox_become_empty(stage: DemoContext) -> None:
    def is_empty() -> bool:
        counts = stage.at_soniox()["counts"]
        return bool(counts["transcriptions"] + counts["files"] == 0)

    until(is_empty, "Soniox's copies are removed")
    stage.screen.step(time.time(), "Soniox's copies removed", "0 transcriptions, 0 files left there")


def _wait_for_step(stage: DemoContext, job_id: str, step: str, what: str) -> None:
    """Wait until the job's timeline has `step`, and print it with the relay's own time."""
    until(lambda: bool(_entries(stage, job_id, step)), what)
    entry = _entries(stage, job_id, step)[0]
    stage.screen.step(_at_s(entry), what, entry["detail"] or f"learned from the {entry['source']}")


def _at_s(entry: dict[str, Any]) -> float:
    return datetime.fromisoformat(entry["at"]).timestamp()


def _entries(stage: DemoContext, job_id: str, step: str) -> list[dict[str, Any]]:
    return [entry for entry in stage.job(job_id)["timeline"] if entry["step"] == step]
