"""What a caller may say of an endpoint, checked at the door."""

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import httpx
import msgspec
from fastapi import APIRouter, Body, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator
from sqlmodel import Session

from service import tables
from service.api.deliveries import Attempt, attempt_shown
from service.api.deps import Caller, Reader, RelayDep, Submitter
from service.api.pagination import MomentParameter, NextCursor, PageDep, page_and_cursor
from service.api.requests import HTTP_URL
from service.api.responses import COMMON_RESPONSES, refusals
from service.clock import iso
from service.crypto import new_endpoint_secret
from service.downstream.messages import MAX_HEADERS, MAX_NAME, MAX_VALUE, NAME, VALUE, header_mistakes, own_headers
from service.downstream.ssrf import AddressGuard, AddressRefusedError
from service.errors import InvalidRequestError, NotFoundError
from service.event_types import check_names
from service.ids import is_own_id, new_id
from service.relay import Relay
from service.schemas import MASK, Moment, Open, Shown
from service.services.endpoints import send_ping
from service.store import endpoints

MAX_OVERLAP_S = 7 * 24 * 3600

Url = Annotated[str, Field(max_length=2048, pattern=HTTP_URL)]
HEADERS: dict[str, Any] = {
    "maxProperties": MAX_HEADERS,
    "propertyNames": {"maxLength": MAX_NAME, "pattern": f"^{NAME.pattern}$"},
    "additionalProperties": {"type": "string", "maxLength": MAX_VALUE, "pattern": f"^{VALUE.pattern}$"},
}


def _without_fraction(value: Any) -> Any:
    """JSON knows one kind of number: 66.0 is 66."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WholeNumber = Annotated[int, BeforeValidator(_without_fraction)]


class EndpointChanges(BaseModel):
    """PATCH: what is not named stays; `headers` and `event_types` are replaced as a whole."""

    model_config = ConfigDict(extra="forbid", strict=True)
    url: Url = ""
    event_types: list[str] = Field(default_factory=list, max_length=20)
    include: Literal["none", "text", "transcript"] = "none"
    enabled: bool = True
    description: str | None = Field(None, max_length=500)
    headers: dict[str, str] = Field(default_factory=dict, json_schema_extra=HEADERS)
    rate_per_s: float | None = Field(None, ge=0.001, le=10_000, description="Most deliveries begun in a second.")
    max_in_flight: WholeNumber = Field(10, ge=1, le=100, description="Most deliveries under way at once.")

    @field_validator("event_types")
    @classmethod
    def _are_known(cls, types: list[str]) -> list[str]:
        return check_names(types)

    @field_validator("description")
    @classmethod
    def _has_no_nul(cls, text: str | None) -> str | None:
        if text and "\0" in text:
            raise ValueError("a NUL character is not allowed")
        return text

    @field_validator("headers")
    @classmethod
    def _are_allowed(cls, headers: dict[str, str]) -> dict[str, str]:
        if mistakes := header_mistakes(headers):
            raise ValueError("; ".join(mistakes[:5]))
        return headers

    @field_validator("url")
    @classmethod
    def _can_be_called(cls, url: str) -> str:
        try:
            host, parts = httpx.URL(url).host, urlsplit(url)
            port_is_fine = parts.port is None or parts.port > 0
        except (httpx.InvalidURL, ValueError):
            raise ValueError("this is not a URL that can be called") from None
        if not host or not port_is_fine or "\\" in url:
            raise ValueError("this is not a URL that can be called")
        if "@" in parts.netloc:
            raise ValueError("put credentials into `headers`, not into the URL")
        return url

    def given(self) -> dict[str, Any]:
        """Only the fields that the caller named."""
        return self.model_dump(exclude_unset=True)


class NewEndpoint(EndpointChanges):
    """POST: `url` must be named."""

    url: Url = Field()


class RotationRequest(BaseModel):
    """How long the old secret still signs beside the new one."""

    model_config = ConfigDict(extra="forbid", strict=True)
    overlap_s: float = Field(24 * 3600, ge=0, le=MAX_OVERLAP_S)


class RecoveryRequest(BaseModel):
    """From when on; `dry_run` only counts."""

    model_config = ConfigDict(extra="forbid", strict=True)
    since: MomentParameter
    dry_run: bool = False


def check_public_url(guard: AddressGuard, url: str, location: str) -> None:
    """Raise InvalidRequestError for a URL that no try could ever reach."""
    try:
        guard.vet_url(url)
    except AddressRefusedError as error:
        raise InvalidRequestError(f"The URL is refused: {error}.", problems=((location, str(error)),)) from None


router = APIRouter(prefix="/v1/endpoints", tags=["Endpoints"], responses=COMMON_RESPONSES)

MAX_PREVIOUS_SECRETS = 5


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


class PingResult(Open):
    """What came of a test."""

    delivered: bool
    event_id: str
    delivery_id: str
    attempt: Attempt


@router.post("", status_code=201, summary="Add an endpoint; the answer shows its secret, no later one does")
async def create(new: NewEndpoint, caller: Submitter, relay: RelayDep) -> EndpointWithSecret:
    check_public_url(relay.delivery_client.guard, new.url, "body.url")
    now_ms = relay.clock()
    secret = new_endpoint_secret()
    endpoint = tables.Endpoint(
        id=new_id("ep", now_ms),
        owner=caller.owner,
        sees_all=caller.is_admin,
        secret_encrypted=relay.secret_box.encrypt(secret),
        headers_encrypted=_sealed_headers(relay, new.headers),
        disabled_at_ms=None if new.enabled else now_ms,
        created_at_ms=now_ms,
        **new.model_dump(exclude={"headers"}),
    )
    await relay.db.write(lambda session: endpoints.add(session, endpoint))
    return EndpointWithSecret.of(endpoint, headers=_masked_headers(relay, endpoint), secret=secret)


@router.get("", summary="List endpoints")
async def list_page(caller: Reader, relay: RelayDep, page: PageDep) -> EndpointPage:
    found = await relay.db.read(lambda session: endpoints.page(session, caller.sees, page))
    here, cursor = page_and_cursor(found, page)
    return EndpointPage(endpoints=[shown(relay, endpoint) for endpoint in here], next_page_cursor=cursor)


@router.get("/{endpoint_id}", summary="Read an endpoint")
async def read(endpoint_id: str, caller: Reader, relay: RelayDep) -> Endpoint:
    return shown(relay, await get_owned_endpoint(relay, endpoint_id, caller))


@router.patch("/{endpoint_id}", summary="Change an endpoint; `enabled` pauses it and lets it go on")
async def change(endpoint_id: str, new: EndpointChanges, caller: Submitter, relay: RelayDep) -> Endpoint:
    await get_owned_endpoint(relay, endpoint_id, caller)
    values = new.given()
    if "url" in values:
        check_public_url(relay.delivery_client.guard, new.url, "body.url")
    if "headers" in values:
        values["headers_encrypted"] = _sealed_headers(relay, values.pop("headers"))
    enabled = values.pop("enabled", None)

    def change_row(session: Session) -> tables.Endpoint | None:
        endpoints.change(session, endpoint_id, values)
        if enabled is True:
            endpoints.enable(session, endpoint_id)
        elif enabled is False:
            endpoints.disable(session, endpoint_id, now_ms=relay.clock(), reason=None)
        return endpoints.get(session, endpoint_id, None)

    return shown(relay, _existing(await relay.db.write(change_row, wake=("notify",))))


@router.delete("/{endpoint_id}", status_code=204, summary="Delete an endpoint")
async def delete(endpoint_id: str, caller: Submitter, relay: RelayDep) -> Response:
    await get_owned_endpoint(relay, endpoint_id, caller)
    await relay.db.write(lambda session: endpoints.remove(session, endpoint_id))
    return Response(status_code=204)


@router.post("/{endpoint_id}/rotate-secret", summary="A new secret; the old one signs beside it for a while")
async def rotate_secret(
    endpoint_id: str,
    caller: Submitter,
    relay: RelayDep,
    rotation: Annotated[RotationRequest | None, Body()] = None,
) -> RotatedEndpoint:
    await get_owned_endpoint(relay, endpoint_id, caller)
    now_ms = relay.clock()
    until_ms = now_ms + int((rotation or RotationRequest()).overlap_s * 1000)
    secret = new_endpoint_secret()
    sealed = relay.secret_box.encrypt(secret)

    def rotate(session: Session) -> tables.Endpoint | None:
        endpoint = _existing(endpoints.get(session, endpoint_id, None))
        old = [{"sealed": endpoint.secret_encrypted, "until_ms": until_ms}, *endpoint.previous_secrets]
        past = [one for one in old if one["until_ms"] > now_ms and _can_decrypt(relay, one["sealed"])][
            :MAX_PREVIOUS_SECRETS
        ]
        return endpoints.change(session, endpoint_id, {"secret_encrypted": sealed, "previous_secrets": past})

    endpoint = _existing(await relay.db.write(rotate))
    return RotatedEndpoint.of(
        endpoint,
        headers=_masked_headers(relay, endpoint),
        secret=secret,
        previous_secret_expires_at=iso(until_ms),
    )


@router.post(
    "/{endpoint_id}/test",
    summary="Send a ping now, on the way that deliveries go",
    responses=refusals(409),
)
async def test(endpoint_id: str, caller: Submitter, relay: RelayDep) -> PingResult:
    delivery, attempt = await send_ping(relay, await get_owned_endpoint(relay, endpoint_id, caller))
    return PingResult(
        delivered=delivery.delivered_at_ms is not None,
        event_id=delivery.event_id,
        delivery_id=delivery.id,
        attempt=attempt_shown(attempt),
    )


async def get_owned_endpoint(relay: Relay, endpoint_id: str, caller: Caller) -> tables.Endpoint:
    """The caller's endpoint. Raises NotFoundError, the same for a stranger's as for none."""
    if not is_own_id(endpoint_id):
        return _existing(None)
    return _existing(await relay.db.read(lambda session: endpoints.get(session, endpoint_id, caller.sees)))


def shown(relay: Relay, endpoint: tables.Endpoint) -> Endpoint:
    """An endpoint as it is shown."""
    return Endpoint.of(endpoint, headers=_masked_headers(relay, endpoint))


def _sealed_headers(relay: Relay, headers: dict[str, str]) -> str | None:
    return relay.secret_box.encrypt(msgspec.json.encode(headers).decode()) if headers else None


def _masked_headers(relay: Relay, endpoint: tables.Endpoint) -> dict[str, str] | None:
    """Their names; None when the master secret that sealed them is gone, and they must be set again."""
    try:
        return dict.fromkeys(own_headers(endpoint, relay.secret_box), MASK)
    except ValueError:
        return None


def _can_decrypt(relay: Relay, sealed: str) -> bool:
    try:
        return bool(relay.secret_box.decrypt(sealed))
    except ValueError:
        return False


def _existing(endpoint: tables.Endpoint | None) -> tables.Endpoint:
    if endpoint is None:
        raise NotFoundError("Endpoint not found.", error_type="endpoint_not_found")
    return endpoint
