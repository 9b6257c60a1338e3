"""The dashboard put together."""

from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import RedirectResponse

from service.dashboard import (
    deliveries,
    endpoints,
    inbox,
    job,
    jobs,
    keys,
    live,
    overview,
    reconciler,
    search,
    signin,
    system,
    transcript,
)
from service.dashboard.assets import assets
from service.dashboard.page import page_router
from service.dashboard.visitors import Reader
from service.errors import NotFound

door = APIRouter(include_in_schema=False)
last = page_router()

SITE = (
    door,
    signin.router,
    live.router,
    overview.router,
    jobs.router,
    job.router,
    transcript.router,
    search.router,
    deliveries.router,
    endpoints.router,
    inbox.router,
    reconciler.router,
    system.router,
    keys.router,
    last,
)


def install(app: FastAPI) -> None:
    """Add its pages to the application."""
    for router in SITE:
        app.include_router(router)


@door.get("/")
async def front_door() -> Response:
    """Who types the bare address is a person."""
    return RedirectResponse("/ui")


@last.get("/static/{digest}/{name:path}")
async def asset(digest: str, name: str) -> Response:
    """A script or style; under the hash of another version it is answered, too, but not to be kept."""
    found = assets().get(name)
    if found is None:
        raise NotFound("There is no such file.")
    kept = "public, max-age=31536000, immutable" if digest == found.digest else "no-cache"
    return Response(found.content, media_type=found.kind, headers={"Cache-Control": kept})


@last.get("/{rest:path}")
async def nowhere(rest: str, _visitor: Reader) -> Response:
    """Everything else below /ui."""
    raise NotFound(f"There is no page at /ui/{rest}.")
