"""Send deliveries again: one, or all that an endpoint did not accept since a moment."""

from sqlmodel import Session

from service.errors import InvalidStateError, NotFoundError
from service.ids import is_own_id, new_id
from service.relay import Relay
from service.services.endpoints import get_owned_endpoint
from service.services.keys import Caller
from service.store import deliveries, endpoints
from service.tables import Delivery, Recovery


async def get_owned_delivery(relay: Relay, delivery_id: str, caller: Caller) -> Delivery:
    """Return the caller's delivery. Raises NotFoundError, the same for a stranger's as for none."""
    delivery = None
    if is_own_id(delivery_id):
        delivery = await relay.db.read(lambda session: deliveries.get(session, delivery_id, caller.sees))
    if delivery is None:
        raise NotFoundError("Delivery not found.", error_type="delivery_not_found")
    return delivery


async def retry_delivery(relay: Relay, delivery_id: str, caller: Caller) -> None:
    """Send it again, with all attempts of the schedule before it. Raises NotFoundError, InvalidStateError."""
    delivery = await get_owned_delivery(relay, delivery_id, caller)

    def send_again(session: Session) -> None:
        _require_receiver(session, delivery)
        deliveries.retry(session, delivery, relay.clock())

    await relay.db.write(send_again, wake=("deliver",))


async def count_undelivered(relay: Relay, endpoint_id: str, since_ms: int, caller: Caller) -> int:
    """Return how many deliveries a recovery would send again. Raises NotFoundError."""
    await get_owned_endpoint(relay, endpoint_id, caller)
    now_ms = relay.clock()
    return await relay.db.read(
        lambda session: deliveries.count_undelivered(session, endpoint_id, since_ms, now_ms)
    )


async def start_recovery(relay: Relay, endpoint_id: str, since_ms: int, caller: Caller) -> Recovery:
    """Send again what was not delivered since then; `expected` says how many. Raises NotFoundError."""
    await get_owned_endpoint(relay, endpoint_id, caller)
    now_ms = relay.clock()
    row = Recovery(
        id=new_id("rcv", now_ms),
        endpoint_id=endpoint_id,
        since_ms=since_ms,
        until_ms=now_ms,
        expected=0,
        at_created_ms=since_ms - 1,
        created_at_ms=now_ms,
        due_at_ms=now_ms,
    )
    row.expected = await relay.db.write(
        lambda session: deliveries.create_recovery(session, row), wake=("recover",)
    )
    return row


def _require_receiver(session: Session, delivery: Delivery) -> None:
    if delivery.endpoint_id is None:
        return
    endpoint = endpoints.get(session, delivery.endpoint_id, None)
    if endpoint is None:
        raise InvalidStateError("Its endpoint was deleted.", error_type="delivery_invalid_state")
    if not endpoint.enabled:
        raise InvalidStateError(
            "Its endpoint is disabled; enable it, and what is held for it is sent.",
            error_type="delivery_invalid_state",
        )
