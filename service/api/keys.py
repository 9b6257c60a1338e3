"""API keys: create, list and revoke them. Only the response to the creation contains the key."""

from typing import Annotated, Literal

from fastapi import APIRouter, Body, Response
from pydantic import BaseModel, ConfigDict, Field

from service.api.deps import Admin, RelayDep
from service.api.pagination import Text
from service.api.responses import COMMON_RESPONSES, with_headers
from service.schemas import Moment, Open, Shown
from service.services.keys import create_key, revoke_key
from service.store import keys

router = APIRouter(prefix="/v1/keys", tags=["Keys"], responses=COMMON_RESPONSES)

Scope = Literal["submit", "read", "admin"]


class NewKey(BaseModel):
    """What an admin says of a key."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: Text = Field(min_length=1, max_length=200)
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=3)] = ["submit", "read"]


class Key(Shown):
    """An API key without its secret."""

    id: str = Field(examples=["key_01a1f93b7e6e7d6aa5e33e50ca4aae80"])
    name: str = Field(examples=["call centre"])
    scopes: list[Scope]
    created_at: Moment
    last_used_at: Moment | None


class KeyWithSecret(Key):
    """The only answer that shows the key."""

    key: str = Field(examples=["srk_..."])


class Keys(Open):
    """All valid keys."""

    keys: list[Key]


@router.post(
    "",
    status_code=201,
    summary="Make a key; the only answer that shows it",
    responses={201: with_headers("Location")},
)
async def create(
    new: Annotated[NewKey, Body()], _caller: Admin, relay: RelayDep, response: Response
) -> KeyWithSecret:
    key, secret = await create_key(relay, new.name, list(new.scopes))
    response.headers["Location"] = f"/v1/keys/{key.id}"
    return KeyWithSecret.of(key, key=secret)


@router.get("", summary="List the valid keys")
async def list_all(_caller: Admin, relay: RelayDep) -> Keys:
    return Keys(keys=[Key.of(key) for key in await relay.db.read(keys.list_valid)])


@router.delete("/{key_id}", status_code=204, summary="Revoke a key")
async def revoke(key_id: str, _caller: Admin, relay: RelayDep) -> Response:
    await revoke_key(relay, key_id)
    return Response(status_code=204)
