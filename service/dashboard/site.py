"""The dashboard put together."""

from fastapi import FastAPI, Response

from service.dashboard import deliveries, endpoints, job, jobs, live, overview, search, signin, transcript
from service.dashboard.assets import assets
from service.dashboard.page import page_router
from service.dashboard.visitors import Reader
from service.errors import NotFound

last = page_router()

SITE = (
    signin.router,
    live.router,
    overview.router,
    jobs.router,
    job.router,
    transcript.router,
    search.router,
    deliveries.router,
    endpoints.router,
    last,
)


def install(app: FastAPI) -> None:
    """Add its pages to the application."""
    for router in SITE:
        app.include_router(router)


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
