"""/ui/keys: API keys made, listed, revoked. The page that makes one is the only one to show it."""

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from service.api import keys as api
from service.api.auth import RelayOf
from service.dashboard.posts import SubmittedByAdmin, back
from service.dashboard.render import render
from service.dashboard.visitors import Admin
from service.relay import Relay
from service.store import keys

router = APIRouter()


@router.get("/keys")
async def keyring(request: Request, relay: RelayOf, _visitor: Admin) -> Response:
    return await _page(request, relay)


@router.post("/keys")
async def create(request: Request, relay: RelayOf, post: SubmittedByAdmin) -> Response:
    try:
        wanted = api.NewKey.model_validate({"name": post.get("name").strip(), "scopes": post.all("scope")})
    except ValidationError:
        return await _page(request, relay, problem="A key needs a name of 1 to 200 characters and a scope.")
    return await _page(request, relay, made=await api.issue(relay, wanted))


@router.post("/keys/{key_id}/revoke")
async def revoke(request: Request, key_id: str, relay: RelayOf, post: SubmittedByAdmin) -> Response:
    await api.revoke(key_id, post.visitor.caller, relay)
    return back(request, "/ui/keys", "The key is revoked, and every session that it opened is over.")


async def _page(
    request: Request, relay: Relay, *, made: api.KeyWithSecret | None = None, problem: str = ""
) -> Response:
    found = await relay.db.read(keys.list_valid)
    return render(request, "keys.html", 400 if problem else 200, keys=found, made=made, problem=problem)
