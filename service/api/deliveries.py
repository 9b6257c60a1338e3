"""Deliveries: what was sent where, what came of each try, and sending one again."""

from typing import Any

from fastapi import APIRouter
from sqlmodel import Session

from service.api.auth import Caller, Reader, RelayOf, Submitter
from service.api.listing import PageOf, Text, listed
from service.clock import iso
from service.errors import InvalidState, NotFound
from service.ids import is_own_id
from service.lifecycle import DeliveryStatus
from service.relay import Relay
from service.store import deliveries, endpoints
from service.tables import Attempt, Delivery

router = APIRouter(prefix="/v1/deliveries", tags=["Deliveries"])


@router.get("", summary="List deliveries")
async def list_page(
    caller: Reader,
    relay: RelayOf,
    page: PageOf,
    endpoint_id: Text | None = None,
    status: DeliveryStatus | None = None,
    event_id: Text | None = None,
) -> dict[str, Any]:
    chosen = deliveries.Filter(caller.sees, endpoint_id, status, event_id)

    def query(session: Session) -> tuple[list[Delivery], dict[str, int]]:
        found = deliveries.page_of(session, chosen, page)
        return found, deliveries.count_attempts(session, [row.id for row in found])

    found, tried = await relay.db.read(query)
    shown = listed("deliveries", found, page, delivery_object)
    for one in shown["deliveries"]:
        one["attempt_count"] = tried.get(one["id"], 0)
    return shown


@router.get("/{delivery_id}", summary="Read a delivery with all its tries")
async def read(delivery_id: str, caller: Reader, relay: RelayOf) -> dict[str, Any]:
    delivery = await owned(relay, delivery_id, caller)
    attempts = await relay.db.read(lambda session: deliveries.attempts_of(session, [delivery.id]))
    tried = {"attempt_count": len(attempts), "attempts": [attempt_object(attempt) for attempt in attempts]}
    return {**delivery_object(delivery), **tried}


@router.post("/{delivery_id}/retry", summary="Send it again, with all tries of the schedule before it")
async def retry(delivery_id: str, caller: Submitter, relay: RelayOf) -> dict[str, Any]:
    delivery = await owned(relay, delivery_id, caller)

    def send_again(session: Session) -> None:
        _refuse_without_receiver(session, delivery)
        deliveries.again(session, delivery, relay.clock())

    await relay.db.write(send_again, wake=("notify",))
    return await read(delivery_id, caller, relay)


async def owned(relay: Relay, delivery_id: str, caller: Caller) -> Delivery:
    """The caller's delivery. Raises NotFound, the same for a stranger's as for none."""
    delivery = None
    if is_own_id(delivery_id):
        delivery = await relay.db.read(lambda session: deliveries.get(session, delivery_id, caller.sees))
    if delivery is None:
        raise NotFound("Delivery not found.", error_type="delivery_not_found")
    return delivery


def _refuse_without_receiver(session: Session, delivery: Delivery) -> None:
    if delivery.endpoint_id is None:
        return
    endpoint = endpoints.get(session, delivery.endpoint_id, None)
    if endpoint is None:
        raise InvalidState("Its endpoint was deleted.", error_type="delivery_invalid_state")
    if not endpoint.enabled:
        raise InvalidState(
            "Its endpoint is disabled; enable it, and what is held for it is sent.",
            error_type="delivery_invalid_state",
        )


def delivery_object(delivery: Delivery) -> dict[str, Any]:
    """A delivery; `endpoint_id` null is the caller's own webhook_url, `next_attempt_at` null: none is due."""
    return {
        "id": delivery.id,
        "event_id": delivery.event_id,
        "endpoint_id": delivery.endpoint_id,
        "transcription_id": delivery.transcription_id,
        "status": delivery.status,
        "created_at": iso(delivery.created_at_ms),
        "next_attempt_at": iso(delivery.due_at_ms),
        "delivered_at": iso(delivery.delivered_at_ms),
        "last_error": delivery.last_error,
    }


def attempt_object(attempt: Attempt) -> dict[str, Any]:
    """One try; `answer` is the first bytes of what came back, as far as they are text."""
    return {
        "at": iso(attempt.at_ms),
        "status_code": attempt.status_code,
        "duration_ms": attempt.duration_ms,
        "error": attempt.error,
        "answer": _as_text(attempt.answer),
    }


def _as_text(answer: bytes) -> str:
    """Whatever it is, without what could steer a terminal."""
    text = answer.decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "\ufffd" for letter in text)
