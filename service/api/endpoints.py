"""Endpoints: validate, create, read, change, delete and test them."""

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import httpx
from fastapi import APIRouter, Body, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from service import tables
from service.api.deliveries import AttemptPublic, attempt_shown
from service.api.deps import Reader, RelayDep, Submitter
from service.api.pagination import MomentParameter, NextCursor, PageDep, page_and_cursor
from service.api.requests import HTTP_URL
from service.api.responses import COMMON_RESPONSES, refusals
from service.clock import iso
from service.downstream.messages import MAX_HEADERS, MAX_NAME, MAX_VALUE, NAME, VALUE, header_mistakes
from service.event_types import check_names
from service.relay import Relay
from service.schemas import MASK, Moment, Open, Shown
from service.services.endpoints import (
    change_endpoint,
    create_endpoint,
    delete_endpoint,
    get_owned_endpoint,
    masked_headers,
    rotate_secret,
    send_ping,
)
from service.store import endpoints

MAX_OVERLAP_S = 7 * 24 * 3600

Url = Annotated[str, Field(max_length=2048, pattern=HTTP_URL)]
HEADERS: dict[str, Any] = {
    "maxProperties": MAX_HEADERS,
    "propertyNames": {"maxLength": MAX_NAME, "pattern": f"^{NAME.pattern}$"},
    "additionalProperties": {"type": "string", "maxLength": MAX_VALUE, "pattern": f"^{VALUE.pattern}$"},
}


def _without_fraction(value: Any) -> Any:
    """Convert 66.0 to 66, because JSON has only one type of number."""
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
        """Return only the fields that the request contains."""
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


router = APIRouter(prefix="/v1/endpoints", tags=["Endpoints"], responses=COMMON_RESPONSES)


class EndpointPublic(Shown):
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


class EndpointWithSecret(EndpointPublic):
    """With the secret that signs, which no other answer shows."""

    secret: str = Field(examples=["whsec_..."])


class RotatedEndpoint(EndpointWithSecret):
    """With the new secret, and how long the old one still signs beside it."""

    previous_secret_expires_at: Moment


class EndpointPage(Open):
    """Some endpoints."""

    endpoints: list[EndpointPublic]
    next_page_cursor: NextCursor


class PingResult(Open):
    """What came of a test."""

    delivered: bool
    event_id: str
    delivery_id: str
    attempt: AttemptPublic


@router.post("", status_code=201, summary="Add an endpoint; the answer shows its secret, no later one does")
async def create(new: NewEndpoint, caller: Submitter, relay: RelayDep) -> EndpointWithSecret:
    endpoint, secret = await create_endpoint(relay, caller, new.model_dump())
    return EndpointWithSecret.of(endpoint, headers=masked_headers(relay, endpoint), secret=secret)


@router.get("", summary="List endpoints")
async def list_page(caller: Reader, relay: RelayDep, page: PageDep) -> EndpointPage:
    found = await relay.db.read(lambda session: endpoints.page(session, caller.sees, page))
    here, cursor = page_and_cursor(found, page)
    return EndpointPage(endpoints=[_shown(relay, endpoint) for endpoint in here], next_page_cursor=cursor)


@router.get("/{endpoint_id}", summary="Read an endpoint")
async def read(endpoint_id: str, caller: Reader, relay: RelayDep) -> EndpointPublic:
    return _shown(relay, await get_owned_endpoint(relay, endpoint_id, caller))


@router.patch("/{endpoint_id}", summary="Change an endpoint; `enabled` pauses it and lets it go on")
async def change(endpoint_id: str, new: EndpointChanges, caller: Submitter, relay: RelayDep) -> EndpointPublic:
    return _shown(relay, await change_endpoint(relay, endpoint_id, caller, new.given()))


@router.delete("/{endpoint_id}", status_code=204, summary="Delete an endpoint")
async def delete(endpoint_id: str, caller: Submitter, relay: RelayDep) -> Response:
    await delete_endpoint(relay, endpoint_id, caller)
    return Response(status_code=204)


@router.post("/{endpoint_id}/rotate-secret", summary="A new secret; the old one signs beside it for a while")
async def rotate(
    endpoint_id: str,
    caller: Submitter,
    relay: RelayDep,
    rotation: Annotated[RotationRequest | None, Body()] = None,
) -> RotatedEndpoint:
    overlap_s = (rotation or RotationRequest()).overlap_s
    rotated = await rotate_secret(relay, endpoint_id, caller, overlap_s)
    return RotatedEndpoint.of(
        rotated.endpoint,
        headers=masked_headers(relay, rotated.endpoint),
        secret=rotated.secret,
        previous_secret_expires_at=iso(rotated.until_ms),
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


def _shown(relay: Relay, endpoint: tables.Endpoint) -> EndpointPublic:
    return EndpointPublic.of(endpoint, headers=masked_headers(relay, endpoint))
