"""Deliver: makes one attempt of one delivery, and sets when the next one is due."""

from dataclasses import replace

import msgspec
import structlog
from opentelemetry.trace import SpanKind
from sqlmodel import Session

from service import telemetry
from service.downstream.client import Outcome
from service.downstream.messages import Message, build_message
from service.downstream.retry_policy import DeliveryHistory, RetryDecision, decide
from service.event_types import EVENT_TYPES
from service.lifecycle import DeliveryStatus
from service.relay import Relay
from service.services.endpoints import attempt_of, disabled_event_rows
from service.store import deliveries, endpoints, transcripts
from service.store.deliveries import Settlement
from service.store.delivery_queue import ClaimedDelivery
from service.store.endpoints import ReceiverFailure
from service.tables import Recovery, TimelineEntry
from service.tracing import attributes, traceparent_of
from service.transcripts.codec import JOINED, read_envelope
from service.transcripts.columns import unpack_texts
from service.transcripts.exports import json_body

MAX_EMBEDDED = 1024 * 1024  # bytes of the whole message
BODY_END = b"}}"


async def with_transcript(relay: Relay, transcription_id: str, include: str, body: bytes) -> bytes:
    """Return the event's body with the transcript added, if there is one and it fits into MAX_EMBEDDED."""
    stored, chunks = await relay.db.read(
        lambda session: (
            transcripts.get(session, transcription_id),
            transcripts.read_chunks(session, transcription_id),
        )
    )
    if stored is None or chunks is None:
        return body
    room = MAX_EMBEDDED - len(body) - 32
    if include == "transcript":
        piece = await _transcript_document(stored.envelope, chunks, transcription_id, room)
    else:
        piece = _transcript_text(stored.envelope, chunks)
    if piece is None or len(piece) > room or not body.endswith(BODY_END):
        return body
    return body[: -len(BODY_END)] + b',"' + include.encode() + b'":' + piece + BODY_END


async def _transcript_document(
    envelope: bytes, chunks: list[bytes], transcription_id: str, room: int
) -> bytes | None:
    """Return the body of `GET .../transcript`. None if it is longer than `room` bytes."""
    parts: list[bytes] = []
    async for part in json_body(envelope, chunks, transcription_id):
        parts.append(part)
        room -= len(part)
        if room < 0:
            return None
    return b"".join(parts)


def _transcript_text(envelope: bytes, chunks: list[bytes]) -> bytes:
    text = read_envelope(envelope)["text"]
    if text is JOINED:
        text = "".join("".join(unpack_texts(chunk)) for chunk in chunks)
    return msgspec.json.encode(text)


BATCH = 200
PAUSE_MS = 200  # between batches: at most 1,000 deliveries per second, before the limits of the endpoint


async def recover(relay: Relay, row: Recovery) -> None:
    """Run the next batch of one claimed recovery."""
    now_ms = relay.clock()
    await relay.db.write(
        lambda session: deliveries.run_recovery_batch(
            session, row, size=BATCH, now_ms=now_ms, again_ms=now_ms + PAUSE_MS
        ),
        wake=("deliver",),
    )


log = structlog.get_logger(__name__)

OUTCOMES = {
    DeliveryStatus.DELIVERED: "delivered",
    DeliveryStatus.PENDING: "failed",
    DeliveryStatus.EXHAUSTED: "exhausted",
}
DELETED = Outcome(None, "the receiver is gone", 0)


async def deliver(relay: Relay, delivery: ClaimedDelivery) -> None:
    """Make one attempt of one claimed delivery."""
    at_ms = relay.clock()
    outcome = await _attempt_delivery(relay, delivery, at_ms)
    if outcome is DELETED:
        await _settle(relay, delivery, DELETED, at_ms, RetryDecision(DeliveryStatus.EXHAUSTED))
        return
    past = DeliveryHistory(
        delivery.tries, delivery.failures or 0, delivery.failing_since_ms, delivery.endpoint_id is not None
    )
    schedule = relay.settings.relay_delivery_schedule_s
    ended_ms = at_ms + outcome.duration_ms
    verdict = decide(outcome, past, ended_ms=ended_ms, schedule=schedule, chance=relay.rng.random())
    await _settle(relay, delivery, outcome, at_ms, verdict)


async def _attempt_delivery(relay: Relay, delivery: ClaimedDelivery, at_ms: int) -> Outcome:
    try:
        message = await _message(relay, delivery, at_ms)
    except ValueError as error:
        return Outcome(None, f"it cannot be signed: {error}", 0)
    return DELETED if message is None else await _post(relay, delivery, message)


async def _post(relay: Relay, delivery: ClaimedDelivery, message: Message) -> Outcome:
    """Send the message with the `traceparent` of its span."""
    ids = {
        "job_id": delivery.transcription_id,
        "event_id": delivery.event_id,
        "delivery_id": delivery.id,
        "endpoint_id": delivery.endpoint_id,
    }
    with relay.tracing.span("deliver", delivery.traceparent, SpanKind.CLIENT, **ids) as span:
        traceparent = traceparent_of(span)
        headers = {**message.headers, "traceparent": traceparent} if traceparent else message.headers
        outcome = await relay.delivery_client.post(replace(message, headers=headers))
        span.set_attributes(attributes(http_status=outcome.status_code, tries=delivery.tries + 1))
    return outcome


async def _message(relay: Relay, delivery: ClaimedDelivery, at_ms: int) -> Message | None:
    """Build the message. None if the event, endpoint or transcription is deleted.

    Raises ValueError as `build_message`.
    """
    if delivery.body is None:
        return None
    if delivery.endpoint_id is None:
        return _callback(relay, delivery, at_ms)
    if delivery.url is None:
        return None
    body = delivery.body
    if delivery.include != "none" and EVENT_TYPES[delivery.event_type or ""].can_include_transcript:
        body = await with_transcript(relay, delivery.transcription_id or "", delivery.include or "", body)
    return build_message(delivery, relay.secret_box, delivery.event_id, body, at_ms)


def _callback(relay: Relay, delivery: ClaimedDelivery, at_ms: int) -> Message | None:
    if delivery.callback_url is None:
        return None
    headers = {"webhook-id": delivery.event_id, "webhook-timestamp": str(at_ms // 1000)}
    if delivery.callback_header and delivery.callback_secret_encrypted:
        headers[delivery.callback_header] = relay.secret_box.decrypt(delivery.callback_secret_encrypted)
    status = EVENT_TYPES[delivery.event_type or ""].callback_status
    body = {"id": delivery.transcription_id, "status": status}
    return Message(delivery.callback_url, headers, msgspec.json.encode(body))


async def _settle(
    relay: Relay, delivery: ClaimedDelivery, outcome: Outcome, at_ms: int, verdict: RetryDecision
) -> None:
    settlement = _settlement(delivery, outcome, at_ms, verdict)
    if verdict.disable:
        await _settle_and_disable(relay, settlement, verdict.disable)
    else:
        await relay.db.write_many(deliveries.settle, settlement)
    telemetry.delivery_attempts.labels("disabled" if verdict.disable else OUTCOMES[verdict.status]).inc()
    telemetry.delivery_seconds.observe(outcome.duration_ms / 1000)
    if not outcome.delivered:
        log.warning(
            "delivery_failed", delivery_id=delivery.id, endpoint_id=delivery.endpoint_id, reason=outcome.error
        )


async def _settle_and_disable(relay: Relay, settlement: Settlement, reason: str) -> None:
    now_ms = relay.clock()

    def settle_and_disable(session: Session) -> bool:
        deliveries.settle(session, [settlement])
        endpoint_id = settlement.delivery.endpoint_id or ""
        endpoint = endpoints.disable(session, endpoint_id, now_ms=now_ms, reason=reason)
        if endpoint is not None:
            disabled_event_rows(session, endpoint, now_ms)
        return endpoint is not None

    if await relay.db.write(settle_and_disable, wake=("deliver", "events")):
        log.warning("endpoint_disabled", endpoint_id=settlement.delivery.endpoint_id, reason=reason)


def _settlement(delivery: ClaimedDelivery, outcome: Outcome, at_ms: int, verdict: RetryDecision) -> Settlement:
    failed = not outcome.delivered and not verdict.disable and outcome is not DELETED
    return Settlement(
        delivery=delivery,
        attempt=attempt_of(delivery.id, outcome, at_ms),
        status=verdict.status,
        due_at_ms=verdict.due_at_ms,
        failure=ReceiverFailure(delivery.receiver, at_ms, verdict.circuit_open_until_ms) if failed else None,
        entry=_entry(delivery, outcome, at_ms, verdict.status) if delivery.transcription_id else None,
    )


def _entry(delivery: ClaimedDelivery, outcome: Outcome, at_ms: int, status: DeliveryStatus) -> TimelineEntry:
    return TimelineEntry(
        transcription_id=delivery.transcription_id or "",
        at_ms=at_ms + outcome.duration_ms,
        step="delivered" if outcome.delivered else f"delivery_{status}",
        source="worker",
        http_status=outcome.status_code,
        duration_ms=outcome.duration_ms,
        detail=f"{delivery.endpoint_id or 'webhook_url'}: {outcome.error or 'accepted'}",
    )
