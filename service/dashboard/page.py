"""Security headers and error pages for all pages."""

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.dashboard.render import render
from service.dashboard.session import SignInRequiredError
from service.errors import CallerError, SonioxError, UnavailableError

log = structlog.get_logger(__name__)

MAX_FORM = 64 * 1024  # bytes
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # `no-referrer` would make the Origin of our own forms `null`
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}


class SecurityHeaders:
    """Add HEADERS to responses that do not set them. Pure ASGI, so streams are not buffered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def install_error_pages(app: FastAPI) -> None:
    """Install handlers that render every error as a page."""
    app.add_exception_handler(SignInRequiredError, _to_sign_in)  # type: ignore[arg-type]  # starlette types the base only
    for kind in (CallerError, UnavailableError, SonioxError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _explain)
    app.add_exception_handler(Exception, _unexpected)


async def _to_sign_in(request: Request, needed: SignInRequiredError) -> Response:
    """Redirect to the sign-in page.

    An htmx request gets `HX-Redirect`, which loads the whole page. A request from another site carries no
    strict cookie, so `again.html` repeats it from our own site before the sign-in page appears.
    """
    if "hx-request" in request.headers:
        return Response(status_code=401, headers={"HX-Redirect": needed.url})
    if request.method == "GET" and request.headers.get("sec-fetch-site") == "cross-site":
        return render(request, "again.html")
    return RedirectResponse(needed.url, 303)


async def _explain(request: Request, error: Exception) -> Response:
    status, title, detail = _describe(error)
    if status >= 500:
        log.warning("page_failed", path=request.url.path, http_status=status, reason=detail)
    return render(request, "error.html", status=status, error_status=status, error_title=title, detail=detail)


async def _unexpected(request: Request, error: Exception) -> Response:
    """Render a page for an unhandled exception. It bypasses the middleware, so it sets the headers itself."""
    log.error("page_failed_unexpectedly", request_id=request.state.request_id, exc_info=error)
    told = {
        "error_status": 500,
        "error_title": "That did not work",
        "detail": "An unforeseen error; the log has it.",
    }
    response = render(request, "error.html", status=500, **told)
    response.headers.update(HEADERS)
    return response


def _describe(error: Exception) -> tuple[int, str, str]:
    match error:
        case CallerError():
            title = {401: "Sign in first", 403: "Not with this key", 404: "Not found"}.get(error.status_code)
            return error.status_code, title or "That did not work", error.message
        case UnavailableError():
            return 503, "The database does not answer", "Nothing was changed. Try again in a moment."
        case SonioxError():
            return 503, "Soniox does not answer", error.message
        case HTTPException():
            return error.status_code, "That did not work", str(error.detail)
        case _:
            return 400, "This link is not understood", "A part of the address has a value that does not exist."
