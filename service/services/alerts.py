"""Alerts: what needs attention, the object it concerns, and the API call that helps, if there is one."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlmodel import Session

from service.clock import DAY_MS, HOUR_MS, MINUTE_MS, iso
from service.relay import Relay
from service.settings import Settings
from service.store import statistics, system
from service.store.statistics import StageCount
from service.store.system import RECONCILER, WORKER_SILENT_MS
from service.tables import Heartbeat

LOST = ("webhook_lost", "webhook_rejected")
OVERDUE_MS = {"collect": 5 * MINUTE_MS, "cleanup": HOUR_MS}  # the highest age of a queue's oldest row

WORKER = "worker:"
RECONCILER_SILENT_INTERVALS = 3


def heartbeat_ages(beats: Mapping[str, Heartbeat], settings: Settings, now_ms: int) -> dict[str, str]:
    """Return `ok`, `silent` or `none has started` for worker and reconciler."""
    workers = [beat.at_ms for beat in worker_heartbeats(beats)]
    swept = [beats[RECONCILER].at_ms] if RECONCILER in beats else []
    interval_ms = settings.relay_reconcile_interval_s * 1000
    return {
        "worker": _alive(workers, now_ms - WORKER_SILENT_MS),
        "reconciler": _alive(swept, now_ms - RECONCILER_SILENT_INTERVALS * interval_ms - WORKER_SILENT_MS),
    }


def worker_heartbeats(beats: Mapping[str, Heartbeat], since_ms: int = 0) -> list[Heartbeat]:
    """Return the heartbeats of workers since `since_ms`."""
    return [beat for name, beat in beats.items() if name.startswith(WORKER) and beat.at_ms >= since_ms]


def _alive(beats: list[int], since_ms: float) -> str:
    if not beats:
        return "none has started"
    return "ok" if max(beats) >= since_ms else "silent"


@dataclass(frozen=True)
class Alert:
    """One alert. `subject` is (type, id); `action` is the (method, path) of the API call that helps."""

    kind: str
    severity: Literal["alarm", "warning"]
    message: str
    count: int = 1
    since_ms: int | None = None
    subject: tuple[str, str] | None = None
    action: tuple[str, str] | None = None

    def shown(self) -> dict[str, Any]:
        """Return the JSON document."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "message": self.message,
            "count": self.count,
            "since": iso(self.since_ms),
            "subject": {"type": self.subject[0], "id": self.subject[1]} if self.subject else None,
            "action": {"method": self.action[0], "path": self.action[1]} if self.action else None,
        }


def alerts(relay: Relay, session: Session, owner: str | None, queues: Mapping[str, StageCount]) -> list[Alert]:
    """Return the alerts of an owner, alarms first. Alerts of the whole service need `owner` None."""
    found = _service_alerts(relay, session, queues) if owner is None else []
    found += _job_alerts(relay, session, owner)
    found += _receiver_alerts(relay, session, owner)
    return sorted(found, key=lambda concern: concern.severity != "alarm")


def _service_alerts(relay: Relay, session: Session, queues: Mapping[str, StageCount]) -> list[Alert]:
    now_ms = relay.clock()
    beats = system.heartbeats_of(session)
    lost = statistics.findings(session, now_ms - HOUR_MS)
    return [
        *_silent_alerts(relay, beats),
        *_blocked_alert(relay, beats),
        *[
            _overdue_alert(queue, queues[queue], most_ms)
            for queue, most_ms in OVERDUE_MS.items()
            if _is_overdue(queues[queue], now_ms - most_ms)
        ],
        *_missed_alert({kind: lost[kind] for kind in LOST if kind in lost}),
    ]


def _silent_alerts(relay: Relay, beats: Mapping[str, Heartbeat]) -> Iterator[Alert]:
    for part, state in heartbeat_ages(beats, relay.settings, relay.clock()).items():
        if state != "ok":
            yield Alert(
                f"{part}_silent", "alarm", f"the {part} gives no sign of life: {state}", subject=("system", part)
            )


def _blocked_alert(relay: Relay, beats: Mapping[str, Heartbeat]) -> Iterator[Alert]:
    """Yield why no jobs go to Soniox, as the workers report it: refused key, rate limit, full quota, outage."""
    workers = worker_heartbeats(beats, relay.clock() - WORKER_SILENT_MS)
    for trouble in dict.fromkeys(beat.detail.get("trouble") for beat in workers):
        if trouble:
            yield Alert("soniox_blocked", "alarm", trouble, subject=("system", "soniox"))


def _is_overdue(queue: StageCount, before_ms: int) -> bool:
    return queue.oldest_ms is not None and queue.oldest_ms < before_ms


def _overdue_alert(queue: str, waiting: StageCount, most_ms: int) -> Alert:
    message = f"the oldest of {waiting.count} that wait for `{queue}` is older than {most_ms // MINUTE_MS} minutes"
    return Alert("queue_late", "warning", message, waiting.count, waiting.oldest_ms, ("queue", queue))


def _missed_alert(findings: Mapping[str, int]) -> Iterator[Alert]:
    for kind, number in findings.items():
        message = f"{number} results of the last hour were found by the reconciler, not told by a webhook ({kind})"
        yield Alert("webhooks_missed", "warning", message, number, subject=("reconciler", kind))


def _job_alerts(relay: Relay, session: Session, owner: str | None) -> list[Alert]:
    number, jobs = statistics.failed(session, relay.clock() - DAY_MS, owner)
    return [
        Alert(
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


def _receiver_alerts(relay: Relay, session: Session, owner: str | None) -> list[Alert]:
    number, exhausted = statistics.exhausted(session, relay.clock() - DAY_MS, owner)
    given_up = [
        Alert(
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
        Alert(
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
        Alert(
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
