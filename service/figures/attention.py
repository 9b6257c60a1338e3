"""What somebody should look at: what it is, where to look, and the one call that mends it if there is one."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlmodel import Session

from service.clock import DAY_MS, HOUR_MS, MINUTE_MS, iso
from service.figures.life import signs_of_life, workers_of
from service.relay import Relay
from service.store import statistics, system
from service.store.statistics import StageCount
from service.store.system import WORKER_SILENT_MS
from service.tables import Heartbeat

LOST = ("webhook_lost", "webhook_rejected")
OVERDUE_MS = {"collect": 5 * MINUTE_MS, "cleanup": HOUR_MS}  # how old the oldest of a queue may be


@dataclass(frozen=True)
class Concern:
    """One thing to look at. `subject` is (type, id); `action` is the method and path of the API that mends it."""

    kind: str
    severity: Literal["alarm", "warning"]
    message: str
    count: int = 1
    since_ms: int | None = None
    subject: tuple[str, str] | None = None
    action: tuple[str, str] | None = None

    def shown(self) -> dict[str, Any]:
        """As a document."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "message": self.message,
            "count": self.count,
            "since": iso(self.since_ms),
            "subject": {"type": self.subject[0], "id": self.subject[1]} if self.subject else None,
            "action": {"method": self.action[0], "path": self.action[1]} if self.action else None,
        }


def concerns(relay: Relay, session: Session, owner: str | None, queues: Mapping[str, StageCount]) -> list[Concern]:
    """Alarms first. What concerns the service as a whole is for those only who see everything (`owner` None)."""
    found = _of_everybody(relay, session, queues) if owner is None else []
    found += _of_jobs(relay, session, owner)
    found += _of_receivers(relay, session, owner)
    return sorted(found, key=lambda concern: concern.severity != "alarm")


def _of_everybody(relay: Relay, session: Session, queues: Mapping[str, StageCount]) -> list[Concern]:
    now_ms = relay.clock()
    beats = system.heartbeats_of(session)
    lost = statistics.findings(session, now_ms - HOUR_MS)
    return [
        *_silent(relay, beats),
        *_parked(relay, beats),
        *[
            _late(lane, queues[lane], most_ms)
            for lane, most_ms in OVERDUE_MS.items()
            if _is_late(queues[lane], now_ms - most_ms)
        ],
        *_missed({kind: lost[kind] for kind in LOST if kind in lost}),
    ]


def _silent(relay: Relay, beats: Mapping[str, Heartbeat]) -> Iterator[Concern]:
    for part, state in signs_of_life(beats, relay.settings, relay.clock()).items():
        if state != "ok":
            yield Concern(
                f"{part}_silent", "alarm", f"the {part} gives no sign of life: {state}", subject=("system", part)
            )


def _parked(relay: Relay, beats: Mapping[str, Heartbeat]) -> Iterator[Concern]:
    """Why no work goes to Soniox: a refused key, a limit, a full quota, an outage; each worker says it."""
    workers = workers_of(beats, relay.clock() - WORKER_SILENT_MS)
    for trouble in dict.fromkeys(beat.detail.get("trouble") for beat in workers):
        if trouble:
            yield Concern("soniox_parked", "alarm", trouble, subject=("system", "soniox"))


def _is_late(queue: StageCount, before_ms: int) -> bool:
    return queue.oldest_ms is not None and queue.oldest_ms < before_ms


def _late(lane: str, queue: StageCount, most_ms: int) -> Concern:
    message = f"the oldest of {queue.count} that wait for `{lane}` is older than {most_ms // MINUTE_MS} minutes"
    return Concern("queue_late", "warning", message, queue.count, queue.oldest_ms, ("queue", lane))


def _missed(finds: Mapping[str, int]) -> Iterator[Concern]:
    for kind, number in finds.items():
        message = f"{number} results of the last hour were found by the reconciler, not told by a webhook ({kind})"
        yield Concern("webhooks_missed", "warning", message, number, subject=("reconciler", kind))


def _of_jobs(relay: Relay, session: Session, owner: str | None) -> list[Concern]:
    number, jobs = statistics.failed(session, relay.clock() - DAY_MS, owner)
    return [
        Concern(
            "transcription_failed",
            "warning",
            f"{job.error_type}: {job.error_message}",
            number,
            job.finished_at_ms,
            ("transcription", job.id),
            ("POST", f"/v1/transcriptions/{job.id}/retry"),
        )
        for job in jobs
    ]


def _of_receivers(relay: Relay, session: Session, owner: str | None) -> list[Concern]:
    number, exhausted = statistics.exhausted(session, relay.clock() - DAY_MS, owner)
    given_up = [
        Concern(
            "delivery_exhausted",
            "warning",
            f"not delivered: {delivery.last_error}",
            number,
            delivery.created_at_ms,
            ("delivery", delivery.id),
            ("POST", f"/v1/deliveries/{delivery.id}/retry"),
        )
        for delivery in exhausted
    ]
    disabled = [
        Concern(
            "endpoint_disabled",
            "alarm",
            f"the relay disabled it: {endpoint.disabled_reason}",
            1,
            endpoint.disabled_at_ms,
            ("endpoint", endpoint.id),
            ("PATCH", f"/v1/endpoints/{endpoint.id}"),
        )
        for endpoint in statistics.disabled(session, owner)
    ]
    failing = [
        Concern(
            "endpoint_failing",
            "warning",
            f"{failures} tries in a row failed",
            failures,
            since_ms,
            ("endpoint", endpoint_id),
            ("POST", f"/v1/endpoints/{endpoint_id}/test"),
        )
        for endpoint_id, failures, since_ms in statistics.failing(session, owner)
    ]
    return [*disabled, *failing, *given_up]
