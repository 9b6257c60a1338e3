"""What every page has in common: its security headers, and errors drawn as pages."""

from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from typing_extensions import override

from service.dashboard.render import render
from service.dashboard.visitors import SignInNeeded
from service.errors import CallerError, SonioxError, Unavailable

log = structlog.get_logger(__name__)

LARGEST_FORM = 64 * 1024  # bytes
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # `no-referrer` would turn the Origin of our own forms into `null`
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Page(APIRoute):
    """A route whose errors are pages, too, and whose answers carry the headers above unless they set their own."""

    @override
    def get_route_handler(self) -> Handler:
        inner = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                response = await inner(request)
            except SignInNeeded as needed:
                response = _to_sign_in(request, needed)
            except (CallerError, Unavailable, SonioxError, RequestValidationError, HTTPException) as error:
                response = _explain(request, error)
            for name, value in HEADERS.items():
                response.headers.setdefault(name, value)
            return response

        return handle


def page_router() -> APIRouter:
    """A router for pages: below /ui, outside the API's document."""
    return APIRouter(prefix="/ui", route_class=Page, include_in_schema=False, max_body_size=LARGEST_FORM)


def _to_sign_in(request: Request, needed: SignInNeeded) -> Response:
    """Live parts are told to load the whole page. A link on another site comes without the strict cookie, so it is
    followed once more from a page of ours before anybody is asked for a key."""
    if "hx-request" in request.headers:
        return Response(status_code=401, headers={"HX-Redirect": needed.url})
    if request.method == "GET" and request.headers.get("sec-fetch-site") == "cross-site":
        return render(request, "again.html")
    return RedirectResponse(needed.url, 303)


def _explain(request: Request, error: Exception) -> Response:
    status, title, detail = _in_words(error)
    if status >= 500:
        log.warning("page_failed", path=request.url.path, http_status=status, reason=detail)
    return render(request, "error.html", status=status, error_status=status, error_title=title, detail=detail)


def _in_words(error: Exception) -> tuple[int, str, str]:
    match error:
        case CallerError():
            title = {401: "Sign in first", 403: "Not with this key", 404: "Not found"}.get(error.status_code)
            return error.status_code, title or "That did not work", error.message
        case Unavailable():
            return 503, "The database does not answer", "Nothing was changed. Try again in a moment."
        case SonioxError():
            return 503, "Soniox does not answer", error.message
        case HTTPException():
            return error.status_code, "That did not work", str(error.detail)
        case _:
            return 400, "This link is not understood", "A part of the address has a value that does not exist."
