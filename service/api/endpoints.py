"""Endpoints: where events are sent."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Body, Response
from sqlmodel import Session

from service.announce import ping
from service.api.auth import Caller, Reader, RelayOf, Submitter
from service.api.deliveries import attempt_object
from service.api.listing import PageOf, listed
from service.api.subscription import ChangedEndpoint, NewEndpoint, Rotation, refuse_private
from service.clock import iso
from service.downstream.message import own_headers
from service.errors import NotFound
from service.ids import is_own_id, new_id
from service.relay import Relay
from service.schemas import MASK
from service.store import endpoints
from service.tables import Endpoint
from service.vault import new_endpoint_secret

router = APIRouter(prefix="/v1/endpoints", tags=["Endpoints"])

MOST_PAST_SECRETS = 5


@router.post("", status_code=201, summary="Add an endpoint; the answer shows its secret, no later one does")
async def create(new: NewEndpoint, caller: Submitter, relay: RelayOf) -> dict[str, Any]:
    refuse_private(relay.sender.guard, new.url, "body.url")
    now_ms = relay.clock()
    secret = new_endpoint_secret()
    endpoint = Endpoint(
        id=new_id("ep", now_ms),
        owner=caller.owner,
        sees_all=caller.is_admin,
        secret_sealed=relay.vault.seal(secret),
        headers_sealed=_sealed_headers(relay, new.headers),
        disabled_at_ms=None if new.enabled else now_ms,
        created_at_ms=now_ms,
        **new.model_dump(exclude={"headers"}),
    )
    await relay.db.write(lambda connection: endpoints.add(connection, endpoint))
    return {**endpoint_object(relay, endpoint), "secret": secret}


@router.get("", summary="List endpoints")
async def list_page(caller: Reader, relay: RelayOf, page: PageOf) -> dict[str, Any]:
    found = await relay.db.read(lambda session: endpoints.page_of(session, caller.sees, page))
    return listed("endpoints", found, page, lambda endpoint: endpoint_object(relay, endpoint))


@router.get("/{endpoint_id}", summary="Read an endpoint")
async def read(endpoint_id: str, caller: Reader, relay: RelayOf) -> dict[str, Any]:
    return endpoint_object(relay, await owned(relay, endpoint_id, caller))


@router.patch("/{endpoint_id}", summary="Change an endpoint; `enabled` pauses it and lets it go on")
async def change(endpoint_id: str, new: ChangedEndpoint, caller: Submitter, relay: RelayOf) -> dict[str, Any]:
    await owned(relay, endpoint_id, caller)
    values = new.given()
    if "url" in values:
        refuse_private(relay.sender.guard, new.url, "body.url")
    if "headers" in values:
        values["headers_sealed"] = _sealed_headers(relay, values.pop("headers"))
    enabled = values.pop("enabled", None)

    def change_row(session: Session) -> Endpoint | None:
        endpoints.change(session, endpoint_id, values)
        if enabled is True:
            endpoints.enable(session, endpoint_id)
        elif enabled is False:
            endpoints.disable(session, endpoint_id, now_ms=relay.clock(), reason=None)
        return endpoints.get(session, endpoint_id, None)

    return endpoint_object(relay, _there(await relay.db.write(change_row, wake=("notify",))))


@router.delete("/{endpoint_id}", status_code=204, summary="Delete an endpoint")
async def delete(endpoint_id: str, caller: Submitter, relay: RelayOf) -> Response:
    await owned(relay, endpoint_id, caller)
    await relay.db.write(lambda connection: endpoints.remove(connection, endpoint_id))
    return Response(status_code=204)


@router.post("/{endpoint_id}/rotate-secret", summary="A new secret; the old one signs beside it for a while")
async def rotate_secret(
    endpoint_id: str, caller: Submitter, relay: RelayOf, rotation: Annotated[Rotation | None, Body()] = None
) -> dict[str, Any]:
    await owned(relay, endpoint_id, caller)
    now_ms = relay.clock()
    until_ms = now_ms + int((rotation or Rotation()).overlap_s * 1000)
    secret = new_endpoint_secret()
    sealed = relay.vault.seal(secret)

    def rotate(session: Session) -> Endpoint | None:
        endpoint = _there(endpoints.get(session, endpoint_id, None))
        old = [{"sealed": endpoint.secret_sealed, "until_ms": until_ms}, *endpoint.past_secrets]
        past = [one for one in old if one["until_ms"] > now_ms and _opens(relay, one["sealed"])][
            :MOST_PAST_SECRETS
        ]
        return endpoints.change(session, endpoint_id, {"secret_sealed": sealed, "past_secrets": past})

    endpoint = _there(await relay.db.write(rotate))
    return {**endpoint_object(relay, endpoint), "secret": secret, "previous_secret_expires_at": iso(until_ms)}


@router.post("/{endpoint_id}/test", summary="Send a ping now, on the way that deliveries go")
async def test(endpoint_id: str, caller: Submitter, relay: RelayOf) -> dict[str, Any]:
    delivery, attempt = await ping(relay, await owned(relay, endpoint_id, caller))
    names = {"event_id": delivery.event_id, "delivery_id": delivery.id}
    return {"delivered": delivery.delivered_at_ms is not None, **names, "attempt": attempt_object(attempt)}


async def owned(relay: Relay, endpoint_id: str, caller: Caller) -> Endpoint:
    """The caller's endpoint. Raises NotFound, the same for a stranger's as for none."""
    if not is_own_id(endpoint_id):
        return _there(None)
    return _there(await relay.db.read(lambda session: endpoints.get(session, endpoint_id, caller.sees)))


def endpoint_object(relay: Relay, endpoint: Endpoint) -> dict[str, Any]:
    """An endpoint without its secret and without the values of its headers."""
    return {
        "id": endpoint.id,
        "url": endpoint.url,
        "event_types": endpoint.event_types,
        "include": endpoint.include,
        "enabled": endpoint.enabled,
        "disabled_at": iso(endpoint.disabled_at_ms),
        "disabled_reason": endpoint.disabled_reason,
        "description": endpoint.description,
        "headers": _masked_headers(relay, endpoint),
        "rate_per_s": endpoint.rate_per_s,
        "max_in_flight": endpoint.max_in_flight,
        "created_at": iso(endpoint.created_at_ms),
    }


def _sealed_headers(relay: Relay, headers: dict[str, str]) -> str | None:
    return relay.vault.seal(msgspec.json.encode(headers).decode()) if headers else None


def _masked_headers(relay: Relay, endpoint: Endpoint) -> dict[str, str] | None:
    """Their names; None when the master secret that sealed them is gone, and they must be set again."""
    try:
        return dict.fromkeys(own_headers(endpoint, relay.vault), MASK)
    except ValueError:
        return None


def _opens(relay: Relay, sealed: str) -> bool:
    try:
        return bool(relay.vault.open(sealed))
    except ValueError:
        return False


def _there(endpoint: Endpoint | None) -> Endpoint:
    if endpoint is None:
        raise NotFound("Endpoint not found.", error_type="endpoint_not_found")
    return endpoint
