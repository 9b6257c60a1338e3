"""The dashboard put together."""

from fastapi import APIRouter, FastAPI, Response

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
from service.dashboard.page import LARGEST_FORM, SecurityHeaders, draw_errors
from service.dashboard.visitors import Reader
from service.errors import NotFound

last = APIRouter()

PAGES = (signin, live, overview, jobs, job, transcript, search)
MORE_PAGES = (deliveries, endpoints, inbox, reconciler, system, keys)


def create_dashboard() -> FastAPI:
    """The application below /ui, which finds `AppState` in its requests."""
    app = FastAPI(openapi_url=None, max_body_size=LARGEST_FORM)
    app.add_middleware(SecurityHeaders)
    draw_errors(app)
    for page in (*PAGES, *MORE_PAGES):
        app.include_router(page.router)
    app.include_router(last)
    return app


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
