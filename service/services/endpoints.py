"""Events about endpoints themselves: that one was disabled, and the ping that tries one out."""

from sqlmodel import Session

from service import event_types
from service.downstream.client import Outcome
from service.downstream.messages import build_message
from service.errors import InvalidStateError
from service.event_types import new_event
from service.ids import new_id
from service.lifecycle import DeliveryStatus
from service.relay import Relay
from service.schemas import DisabledEndpoint, Pinged
from service.store import events
from service.store.events import EventDraft
from service.store.statements import insert_all
from service.tables import Attempt, Delivery, Endpoint, Event


def disabled_event_rows(session: Session, endpoint: Endpoint, now_ms: int) -> None:
    """Into the log, and to the owner's other endpoints."""
    data = DisabledEndpoint.of(endpoint, reason=endpoint.disabled_reason)
    event = new_event(event_types.DISABLED, now_ms, data, owner=endpoint.owner)
    events.append(session, EventDraft(event, but_not=endpoint.id))


async def send_ping(relay: Relay, endpoint: Endpoint) -> tuple[Delivery, Attempt]:
    """Send a `ping` now, once, on the way that deliveries go; disabled or not. Event and outcome are kept.

    Raises InvalidStateError when its secret was sealed with a master secret that is no longer set.
    """
    at_ms = relay.clock()
    event = new_event(event_types.PING, at_ms, Pinged(endpoint_id=endpoint.id), owner=endpoint.owner)
    try:
        message = build_message(endpoint, relay.secret_box, event.id, event.body, at_ms)
    except ValueError as error:
        reason = f"Its secret or a header is {error}; rotate the secret and set the headers again."
        raise InvalidStateError(reason, error_type="endpoint_invalid_state") from None
    outcome = await relay.delivery_client.post(message)
    delivery = _delivery(event, endpoint, outcome)
    attempt = Attempt(
        delivery_id=delivery.id,
        at_ms=at_ms,
        duration_ms=outcome.duration_ms,
        status_code=outcome.status_code,
        error=outcome.error,
        answer=outcome.answer,
    )

    def keep(session: Session) -> None:
        events.insert_event(session, event)
        insert_all(session, [delivery])
        insert_all(session, [attempt])

    await relay.db.write(keep, wake=("events",))
    return delivery, attempt


def _delivery(event: Event, endpoint: Endpoint, outcome: Outcome) -> Delivery:
    ended_ms = event.created_at_ms + outcome.duration_ms
    return Delivery(
        id=new_id("dlv", event.created_at_ms),
        event_id=event.id,
        owner=endpoint.owner,
        endpoint_id=endpoint.id,
        receiver=endpoint.id,
        status=DeliveryStatus.DELIVERED if outcome.delivered else DeliveryStatus.EXHAUSTED,
        created_at_ms=event.created_at_ms,
        delivered_at_ms=ended_ms if outcome.delivered else None,
        tries=1,
        last_error=outcome.error,
    )
