"""Endpoints: where events are sent."""

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, field_validator

from service.api.auth import Reader, RelayOf, Submitter
from service.api.submission import HTTP_URL
from service.clock import iso
from service.errors import NotFound
from service.ids import new_id
from service.store import endpoints
from service.tables import Endpoint
from service.vault import new_endpoint_secret

router = APIRouter(prefix="/v1/endpoints", tags=["Endpoints"])

EVENT_TYPES = (
    "transcription.completed",
    "transcription.failed",
    "transcription.deleted",
    "endpoint.disabled",
    "ping",
)


class NewEndpoint(BaseModel):
    """What a caller says of an endpoint."""

    model_config = ConfigDict(extra="forbid", strict=True)
    url: str = Field(max_length=2048, pattern=HTTP_URL)
    event_types: list[str] = Field(default_factory=list, max_length=20)
    include: Literal["none", "text", "transcript"] = "none"
    enabled: bool = True
    description: str | None = Field(None, max_length=500)

    @field_validator("event_types")
    @classmethod
    def _are_known(cls, types: list[str]) -> list[str]:
        for name in types:
            if name not in EVENT_TYPES:
                raise ValueError(f"unknown event type; there are {', '.join(EVENT_TYPES)}")
        return types


@router.post("", status_code=201, summary="Add an endpoint; the only answer that shows its secret")
async def create(new: NewEndpoint, caller: Submitter, relay: RelayOf) -> dict[str, Any]:
    now_ms = relay.clock()
    secret = new_endpoint_secret()
    endpoint = Endpoint(
        id=new_id("ep", now_ms),
        owner=caller.owner,
        sees_all=caller.is_admin,
        secret_sealed=relay.vault.seal(secret),
        created_at_ms=now_ms,
        **new.model_dump(),
    )
    await relay.db.write(lambda connection: endpoints.add(connection, endpoint))
    return {**endpoint_object(endpoint), "secret": secret}


@router.get("", summary="List endpoints")
async def list_all(caller: Reader, relay: RelayOf) -> dict[str, Any]:
    async with relay.db.read() as connection:
        found = await endpoints.list_of(connection, caller.sees)
    return {"endpoints": [endpoint_object(endpoint) for endpoint in found]}


@router.get("/{endpoint_id}", summary="Read an endpoint")
async def read(endpoint_id: str, caller: Reader, relay: RelayOf) -> dict[str, Any]:
    async with relay.db.read() as connection:
        endpoint = await endpoints.get(connection, endpoint_id)
    if endpoint is None or caller.sees not in {None, endpoint.owner}:
        raise NotFound("Endpoint not found.", error_type="endpoint_not_found")
    return endpoint_object(endpoint)


def endpoint_object(endpoint: Endpoint) -> dict[str, Any]:
    """An endpoint without its secret."""
    return {
        "id": endpoint.id,
        "url": endpoint.url,
        "event_types": endpoint.event_types,
        "include": endpoint.include,
        "enabled": endpoint.enabled,
        "description": endpoint.description,
        "created_at": iso(endpoint.created_at_ms),
    }
