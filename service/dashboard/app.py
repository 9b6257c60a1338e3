"""The dashboard application: pages, assets, security headers and error pages."""

from fastapi import APIRouter, FastAPI, Response

from service.dashboard import admin, deliveries, endpoints, job, jobs, live, overview, search, sign_in, transcript
from service.dashboard.page import MAX_FORM, SecurityHeaders, install_error_pages
from service.dashboard.render import assets
from service.dashboard.session import ReaderSession
from service.errors import NotFoundError

fallback = APIRouter()

PAGES = (sign_in, live, overview, jobs, job, transcript, search)
SUBPAGES = (deliveries, endpoints, admin)


def create_dashboard() -> FastAPI:
    """Return the application for /ui. It expects `AppState` in the state of its requests."""
    app = FastAPI(openapi_url=None, max_body_size=MAX_FORM)
    app.add_middleware(SecurityHeaders)
    install_error_pages(app)
    for page in (*PAGES, *SUBPAGES):
        app.include_router(page.router)
    app.include_router(fallback)
    return app


@fallback.get("/static/{digest}/{name:path}")
async def asset(digest: str, name: str) -> Response:
    """Return an asset. A request with the hash of another version gets the file with `no-cache`."""
    found = assets().get(name)
    if found is None:
        raise NotFoundError("There is no such file.")
    kept = "public, max-age=31536000, immutable" if digest == found.digest else "no-cache"
    return Response(found.content, media_type=found.kind, headers={"Cache-Control": kept})


@fallback.get("/{rest:path}")
async def not_found(rest: str, _visitor: ReaderSession) -> Response:
    """Answer 404 for any other path below /ui."""
    raise NotFoundError(f"There is no page at /ui/{rest}.")
