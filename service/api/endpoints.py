"""Endpoints: where events are sent."""

from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Body, Response
from pydantic import Field
from sqlmodel import Session

from service import tables
from service.api.auth import Caller, Reader, RelayOf, Submitter
from service.api.deliveries import Attempt, attempt_shown
from service.api.documents import EVERYWHERE, refused
from service.api.listing import NextCursor, PageOf, cut
from service.api.subscription import ChangedEndpoint, NewEndpoint, Rotation, refuse_private
from service.clock import iso
from service.crypto import new_endpoint_secret
from service.downstream.messages import own_headers
from service.errors import NotFound
from service.ids import is_own_id, new_id
from service.relay import Relay
from service.schemas import MASK, Moment, Open, Shown
from service.services.endpoints import send_ping
from service.store import endpoints

router = APIRouter(prefix="/v1/endpoints", tags=["Endpoints"], responses=EVERYWHERE)

MOST_PAST_SECRETS = 5


class Endpoint(Shown):
    """A subscriber, without its secret and without the values of its headers."""

    id: str = Field(examples=["ep_01a1f93b7e6e7d6aa5e33e50ca4aae80"])
    url: str = Field(examples=["https://hooks.example.com/relay"])
    event_types: list[str] = Field(description="Empty: all.", examples=[["transcription.completed"]])
    include: Literal["none", "text", "transcript"]
    enabled: bool
    disabled_at: Moment | None
    disabled_reason: str | None = Field(description="null: you paused it.")
    description: str | None
    headers: dict[str, str] | None = Field(
        description="Their values masked; null: they must be set again.", examples=[{"X-Mine": MASK}]
    )
    rate_per_s: float | None
    max_in_flight: int
    created_at: Moment


class EndpointWithSecret(Endpoint):
    """With the secret that signs, which no other answer shows."""

    secret: str = Field(examples=["whsec_..."])


class RotatedEndpoint(EndpointWithSecret):
    """With the new secret, and how long the old one still signs beside it."""

    previous_secret_expires_at: Moment


class EndpointPage(Open):
    """Some endpoints."""

    endpoints: list[Endpoint]
    next_page_cursor: NextCursor


class Ping(Open):
    """What came of a test."""

    delivered: bool
    event_id: str
    delivery_id: str
    attempt: Attempt


@router.post("", status_code=201, summary="Add an endpoint; the answer shows its secret, no later one does")
async def create(new: NewEndpoint, caller: Submitter, relay: RelayOf) -> EndpointWithSecret:
    refuse_private(relay.sender.guard, new.url, "body.url")
    now_ms = relay.clock()
    secret = new_endpoint_secret()
    endpoint = tables.Endpoint(
        id=new_id("ep", now_ms),
        owner=caller.owner,
        sees_all=caller.is_admin,
        secret_sealed=relay.vault.seal(secret),
        headers_sealed=_sealed_headers(relay, new.headers),
        disabled_at_ms=None if new.enabled else now_ms,
        created_at_ms=now_ms,
        **new.model_dump(exclude={"headers"}),
    )
    await relay.db.write(lambda session: endpoints.add(session, endpoint))
    return EndpointWithSecret.of(endpoint, headers=_masked_headers(relay, endpoint), secret=secret)


@router.get("", summary="List endpoints")
async def list_page(caller: Reader, relay: RelayOf, page: PageOf) -> EndpointPage:
    found = await relay.db.read(lambda session: endpoints.page(session, caller.sees, page))
    here, cursor = cut(found, page)
    return EndpointPage(endpoints=[shown(relay, endpoint) for endpoint in here], next_page_cursor=cursor)


@router.get("/{endpoint_id}", summary="Read an endpoint")
async def read(endpoint_id: str, caller: Reader, relay: RelayOf) -> Endpoint:
    return shown(relay, await owned(relay, endpoint_id, caller))


@router.patch("/{endpoint_id}", summary="Change an endpoint; `enabled` pauses it and lets it go on")
async def change(endpoint_id: str, new: ChangedEndpoint, caller: Submitter, relay: RelayOf) -> Endpoint:
    await owned(relay, endpoint_id, caller)
    values = new.given()
    if "url" in values:
        refuse_private(relay.sender.guard, new.url, "body.url")
    if "headers" in values:
        values["headers_sealed"] = _sealed_headers(relay, values.pop("headers"))
    enabled = values.pop("enabled", None)

    def change_row(session: Session) -> tables.Endpoint | None:
        endpoints.change(session, endpoint_id, values)
        if enabled is True:
            endpoints.enable(session, endpoint_id)
        elif enabled is False:
            endpoints.disable(session, endpoint_id, now_ms=relay.clock(), reason=None)
        return endpoints.get(session, endpoint_id, None)

    return shown(relay, _there(await relay.db.write(change_row, wake=("notify",))))


@router.delete("/{endpoint_id}", status_code=204, summary="Delete an endpoint")
async def delete(endpoint_id: str, caller: Submitter, relay: RelayOf) -> Response:
    await owned(relay, endpoint_id, caller)
    await relay.db.write(lambda session: endpoints.remove(session, endpoint_id))
    return Response(status_code=204)


@router.post("/{endpoint_id}/rotate-secret", summary="A new secret; the old one signs beside it for a while")
async def rotate_secret(
    endpoint_id: str, caller: Submitter, relay: RelayOf, rotation: Annotated[Rotation | None, Body()] = None
) -> RotatedEndpoint:
    await owned(relay, endpoint_id, caller)
    now_ms = relay.clock()
    until_ms = now_ms + int((rotation or Rotation()).overlap_s * 1000)
    secret = new_endpoint_secret()
    sealed = relay.vault.seal(secret)

    def rotate(session: Session) -> tables.Endpoint | None:
        endpoint = _there(endpoints.get(session, endpoint_id, None))
        old = [{"sealed": endpoint.secret_sealed, "until_ms": until_ms}, *endpoint.past_secrets]
        past = [one for one in old if one["until_ms"] > now_ms and _opens(relay, one["sealed"])][
            :MOST_PAST_SECRETS
        ]
        return endpoints.change(session, endpoint_id, {"secret_sealed": sealed, "past_secrets": past})

    endpoint = _there(await relay.db.write(rotate))
    return RotatedEndpoint.of(
        endpoint,
        headers=_masked_headers(relay, endpoint),
        secret=secret,
        previous_secret_expires_at=iso(until_ms),
    )


@router.post(
    "/{endpoint_id}/test",
    summary="Send a ping now, on the way that deliveries go",
    responses=refused(409),
)
async def test(endpoint_id: str, caller: Submitter, relay: RelayOf) -> Ping:
    delivery, attempt = await send_ping(relay, await owned(relay, endpoint_id, caller))
    return Ping(
        delivered=delivery.delivered_at_ms is not None,
        event_id=delivery.event_id,
        delivery_id=delivery.id,
        attempt=attempt_shown(attempt),
    )


async def owned(relay: Relay, endpoint_id: str, caller: Caller) -> tables.Endpoint:
    """The caller's endpoint. Raises NotFound, the same for a stranger's as for none."""
    if not is_own_id(endpoint_id):
        return _there(None)
    return _there(await relay.db.read(lambda session: endpoints.get(session, endpoint_id, caller.sees)))


def shown(relay: Relay, endpoint: tables.Endpoint) -> Endpoint:
    """An endpoint as it is shown."""
    return Endpoint.of(endpoint, headers=_masked_headers(relay, endpoint))


def _sealed_headers(relay: Relay, headers: dict[str, str]) -> str | None:
    return relay.vault.seal(msgspec.json.encode(headers).decode()) if headers else None


def _masked_headers(relay: Relay, endpoint: tables.Endpoint) -> dict[str, str] | None:
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


def _there(endpoint: tables.Endpoint | None) -> tables.Endpoint:
    if endpoint is None:
        raise NotFound("Endpoint not found.", error_type="endpoint_not_found")
    return endpoint
