"""Notify: one try of one delivery, and when the next one is due.

An endpoint gets the event as Standard Webhooks has it. The caller's own `webhook_url` gets what Soniox would
have sent it: `{"id", "status"}` and the caller's header; beside it stand `webhook-id` and `webhook-timestamp`,
by which a repeat can be told.
"""

from dataclasses import dataclass

import msgspec
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from service import telemetry
from service.downstream.send import Outcome
from service.downstream.sign import signed_headers
from service.lifecycle import DeliveryStatus
from service.relay import Relay
from service.schemas import transcription_object
from service.store import deliveries, endpoints, events, timeline, transcriptions
from service.tables import Attempt, Delivery, Event, TimelineEntry, Transcription

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Message:
    """One POST, ready to go."""

    url: str
    headers: dict[str, str]
    body: bytes


async def notify(relay: Relay, row: Delivery) -> None:
    """Run one claimed delivery through one try."""
    at_ms = relay.clock()
    message = await _message(relay, row, at_ms)
    if message is None:
        outcome = Outcome(None, "the receiver is gone", 0)
    else:
        outcome = await relay.sender.post(message.url, message.headers, message.body)
    status, next_at_ms = _verdict(relay, row, outcome, at_ms, receiver_exists=message is not None)
    await _settle(relay, row, outcome, at_ms, status, next_at_ms)


async def _message(relay: Relay, row: Delivery, at_ms: int) -> Message | None:
    async with relay.db.read() as connection:
        event = await events.get(connection, row.event_id)
        if event is None:
            return None
        if row.endpoint_id is None:
            job = await transcriptions.get(connection, row.transcription_id or "", None)
            return _callback(relay, event, job, at_ms) if job else None
        endpoint = await endpoints.get(connection, row.endpoint_id)
    if endpoint is None:
        return None
    secrets = [relay.vault.open(endpoint.secret_sealed)]
    return Message(endpoint.url, signed_headers(event.id, at_ms // 1000, event.body, secrets), event.body)


def _callback(relay: Relay, event: Event, job: Transcription, at_ms: int) -> Message | None:
    if job.callback_url is None:
        return None
    headers = {"webhook-id": event.id, "webhook-timestamp": str(at_ms // 1000)}
    if job.callback_header and job.callback_secret_sealed:
        headers[job.callback_header] = relay.vault.open(job.callback_secret_sealed)
    body = msgspec.json.encode({"id": job.id, "status": transcription_object(job)["status"]})
    return Message(job.callback_url, headers, body)


def _verdict(
    relay: Relay, row: Delivery, outcome: Outcome, at_ms: int, *, receiver_exists: bool
) -> tuple[DeliveryStatus, int | None]:
    """What the delivery becomes, and when it is tried again. Jitter is only ever added."""
    if outcome.delivered:
        return DeliveryStatus.DELIVERED, None
    schedule = relay.settings.relay_delivery_schedule_s
    if outcome.wants_no_more or not receiver_exists or row.tries >= len(schedule):
        return DeliveryStatus.EXHAUSTED, None
    wait_s = schedule[row.tries] * (1 + 0.1 * relay.chance.random())
    wait_s = max(wait_s, outcome.retry_after_s or 0.0)
    return DeliveryStatus.PENDING, at_ms + outcome.duration_ms + int(wait_s * 1000)


async def _settle(
    relay: Relay, row: Delivery, outcome: Outcome, at_ms: int, status: DeliveryStatus, next_at_ms: int | None
) -> None:
    attempt = Attempt(
        delivery_id=row.id,
        at_ms=at_ms,
        duration_ms=outcome.duration_ms,
        status_code=outcome.status_code,
        error=outcome.error,
        answer=outcome.answer,
    )

    async def settle(connection: AsyncConnection) -> None:
        await deliveries.settle(connection, row, attempt, status, next_at_ms)
        if row.transcription_id:
            await timeline.note(connection, _entry(row, row.transcription_id, outcome, at_ms, status))
        if row.endpoint_id is None and row.transcription_id and outcome.status_code:
            await transcriptions.mark_called_back(connection, row.transcription_id, outcome.status_code)

    await relay.db.write(settle)
    telemetry.delivery_attempts.labels("delivered" if outcome.delivered else "failed").inc()
    telemetry.delivery_seconds.observe(outcome.duration_ms / 1000)
    if not outcome.delivered:
        log.warning("delivery_failed", delivery_id=row.id, endpoint_id=row.endpoint_id, reason=outcome.error)


def _entry(
    row: Delivery, transcription_id: str, outcome: Outcome, at_ms: int, status: DeliveryStatus
) -> TimelineEntry:
    return TimelineEntry(
        transcription_id=transcription_id,
        at_ms=at_ms + outcome.duration_ms,
        step="delivered" if outcome.delivered else f"delivery_{status}",
        source="worker",
        http_status=outcome.status_code,
        duration_ms=outcome.duration_ms,
        detail=f"{row.endpoint_id or 'webhook_url'}: {outcome.error or 'accepted'}",
    )
