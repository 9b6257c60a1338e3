"""Endpoints: create, change, rotate the secret, delete, ping; the events about an endpoint itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlmodel import Session

from service import event_types
from service.crypto import new_endpoint_secret
from service.downstream.client import Outcome
from service.downstream.messages import build_message, own_headers
from service.downstream.ssrf import AddressGuard, AddressRefusedError
from service.errors import InvalidRequestError, InvalidStateError, NotFoundError
from service.event_types import new_event
from service.ids import is_own_id, new_id
from service.lifecycle import DeliveryStatus
from service.relay import Relay
from service.schemas import MASK, DisabledEndpoint, Pinged
from service.services.keys import Caller
from service.store import endpoints, events
from service.store.events import EventDraft
from service.store.statements import insert_all
from service.tables import Attempt, Delivery, Endpoint, Event

MAX_PREVIOUS_SECRETS = 5


@dataclass(frozen=True)
class RotatedSecret:
    """The endpoint, its new secret, and until when the old one signs beside it."""

    endpoint: Endpoint
    secret: str
    until_ms: int


async def get_owned_endpoint(relay: Relay, endpoint_id: str, caller: Caller) -> Endpoint:
    """Return the caller's endpoint. Raises NotFoundError, the same for a stranger's as for none."""
    if not is_own_id(endpoint_id):
        return _existing(None)
    return _existing(await relay.db.read(lambda session: endpoints.get(session, endpoint_id, caller.sees)))


async def create_endpoint(relay: Relay, caller: Caller, values: Mapping[str, Any]) -> tuple[Endpoint, str]:
    """Create an endpoint; return its row and its secret. Raises InvalidRequestError for a private URL.

    `values` has the columns that a caller may set, and `headers`.
    """
    check_public_url(relay.delivery_client.guard, values["url"], "body.url")
    now_ms = relay.clock()
    secret = new_endpoint_secret()
    endpoint = Endpoint(
        id=new_id("ep", now_ms),
        owner=caller.owner,
        sees_all=caller.is_admin,
        secret_encrypted=relay.secret_box.encrypt(secret),
        headers_encrypted=_encrypted_headers(relay, values["headers"]),
        disabled_at_ms=None if values["enabled"] else now_ms,
        created_at_ms=now_ms,
        **{name: value for name, value in values.items() if name != "headers"},
    )
    await relay.db.write(lambda session: endpoints.add(session, endpoint))
    return endpoint, secret


async def change_endpoint(relay: Relay, endpoint_id: str, caller: Caller, changes: Mapping[str, Any]) -> Endpoint:
    """Change what `changes` names; `enabled` also holds or releases deliveries.

    Raises NotFoundError, and InvalidRequestError for a private URL.
    """
    await get_owned_endpoint(relay, endpoint_id, caller)
    values = dict(changes)
    if "url" in values:
        check_public_url(relay.delivery_client.guard, values["url"], "body.url")
    if "headers" in values:
        values["headers_encrypted"] = _encrypted_headers(relay, values.pop("headers"))
    enabled = values.pop("enabled", None)

    def change(session: Session) -> Endpoint | None:
        endpoints.change(session, endpoint_id, values)
        if enabled is True:
            endpoints.enable(session, endpoint_id)
        elif enabled is False:
            endpoints.disable(session, endpoint_id, now_ms=relay.clock(), reason=None)
        return endpoints.get(session, endpoint_id, None)

    return _existing(await relay.db.write(change, wake=("deliver",)))


async def delete_endpoint(relay: Relay, endpoint_id: str, caller: Caller) -> None:
    """Delete an endpoint. Raises NotFoundError."""
    await get_owned_endpoint(relay, endpoint_id, caller)
    await relay.db.write(lambda session: endpoints.remove(session, endpoint_id))


async def rotate_secret(relay: Relay, endpoint_id: str, caller: Caller, overlap_s: float) -> RotatedSecret:
    """Set a new secret; the old one signs beside it for `overlap_s`. Raises NotFoundError."""
    await get_owned_endpoint(relay, endpoint_id, caller)
    now_ms = relay.clock()
    until_ms = now_ms + int(overlap_s * 1000)
    secret = new_endpoint_secret()
    encrypted = relay.secret_box.encrypt(secret)

    def rotate(session: Session) -> Endpoint | None:
        endpoint = _existing(endpoints.get(session, endpoint_id, None))
        old = [{"sealed": endpoint.secret_encrypted, "until_ms": until_ms}, *endpoint.previous_secrets]
        valid = [one for one in old if one["until_ms"] > now_ms and _can_decrypt(relay, one["sealed"])]
        values = {"secret_encrypted": encrypted, "previous_secrets": valid[:MAX_PREVIOUS_SECRETS]}
        return endpoints.change(session, endpoint_id, values)

    return RotatedSecret(_existing(await relay.db.write(rotate)), secret, until_ms)


def masked_headers(relay: Relay, endpoint: Endpoint) -> dict[str, str] | None:
    """Return the names of its headers; None when their master secret is gone and they must be set again."""
    try:
        return dict.fromkeys(own_headers(endpoint, relay.secret_box), MASK)
    except ValueError:
        return None


def disabled_event_rows(session: Session, endpoint: Endpoint, now_ms: int) -> None:
    """Add the event `endpoint.disabled` to the log, with deliveries to the owner's other endpoints."""
    data = DisabledEndpoint.of(endpoint, reason=endpoint.disabled_reason)
    event = new_event(event_types.DISABLED, now_ms, data, owner=endpoint.owner)
    events.append(session, EventDraft(event, but_not=endpoint.id))


async def send_ping(relay: Relay, endpoint: Endpoint) -> tuple[Delivery, Attempt]:
    """Send one `ping` now, as a delivery is sent, even to a disabled endpoint. Event and attempt are stored.

    Raises InvalidStateError if the secret or a header is encrypted with a master secret that is no longer set.
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
    attempt = attempt_of(delivery.id, outcome, at_ms)

    def keep(session: Session) -> None:
        events.insert_event(session, event)
        insert_all(session, [delivery])
        insert_all(session, [attempt])

    await relay.db.write(keep, wake=("events",))
    return delivery, attempt


def attempt_of(delivery_id: str, outcome: Outcome, at_ms: int) -> Attempt:
    """Return the row of one attempt, begun at `at_ms`."""
    return Attempt(
        delivery_id=delivery_id,
        at_ms=at_ms,
        duration_ms=outcome.duration_ms,
        status_code=outcome.status_code,
        error=outcome.error,
        answer=outcome.answer,
    )


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


def check_public_url(guard: AddressGuard, url: str, location: str) -> None:
    """Raise InvalidRequestError for a URL that no try could ever reach."""
    try:
        guard.vet_url(url)
    except AddressRefusedError as error:
        raise InvalidRequestError(f"The URL is refused: {error}.", problems=((location, str(error)),)) from None


def _encrypted_headers(relay: Relay, headers: dict[str, str]) -> str | None:
    return relay.secret_box.encrypt(msgspec.json.encode(headers).decode()) if headers else None


def _can_decrypt(relay: Relay, encrypted: str) -> bool:
    try:
        return bool(relay.secret_box.decrypt(encrypted))
    except ValueError:
        return False


def _existing(endpoint: Endpoint | None) -> Endpoint:
    if endpoint is None:
        raise NotFoundError("Endpoint not found.", error_type="endpoint_not_found")
    return endpoint
