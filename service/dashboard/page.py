"""What every page has in common: its security headers, and errors drawn as pages."""

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
    "Referrer-Policy": "same-origin",  # `no-referrer` would turn the Origin of our own forms into `null`
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}


class SecurityHeaders:
    """Every answer carries the headers above unless it sets its own. Pure ASGI, so that streams pass untouched."""

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
    """Draw every error as a page."""
    app.add_exception_handler(SignInRequiredError, _to_sign_in)  # type: ignore[arg-type]  # starlette types the base only
    for kind in (CallerError, UnavailableError, SonioxError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _explain)
    app.add_exception_handler(Exception, _unexpected)


async def _to_sign_in(request: Request, needed: SignInRequiredError) -> Response:
    """Live parts are told to load the whole page. A link on another site comes without the strict cookie, so it is
    followed once more from a page of ours before anybody is asked for a key."""
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
    """Answered outside of the middleware."""
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
