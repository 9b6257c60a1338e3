"""Error handlers that answer every error of the API with Soniox's error body."""

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from service.api.openapi import methods_of
from service.errors import CallerError, Problems, SonioxError, UnavailableError
from service.schemas import error_body

log = structlog.get_logger(__name__)

TYPE_OF = {
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "request_too_large",
    415: "unsupported_media_type",
}


def install(app: FastAPI) -> None:
    """Install the handlers for all errors."""
    app.add_exception_handler(CallerError, _caller_error)  # type: ignore[arg-type]  # starlette types the base only
    app.add_exception_handler(UnavailableError, _unavailable)  # type: ignore[arg-type]
    app.add_exception_handler(SonioxError, _soniox_error)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, _validation)  # type: ignore[arg-type]
    app.add_exception_handler(HTTPException, _http)  # type: ignore[arg-type]
    app.add_exception_handler(ClientDisconnect, _client_disconnected)
    app.add_exception_handler(Exception, _unexpected)


def _respond(
    request: Request,
    status_code: int,
    error_type: str,
    message: str,
    problems: Problems = (),
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    body = error_body(status_code, error_type, message, request.state.request_id, problems)
    return JSONResponse(body, status_code, headers)


async def _caller_error(request: Request, error: CallerError) -> JSONResponse:
    headers = {"WWW-Authenticate": "Bearer"} if error.status_code == 401 else {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    return _respond(request, error.status_code, error.kind, error.message, error.problems, headers)


async def _unavailable(request: Request, error: UnavailableError) -> JSONResponse:
    log.warning("request_refused", reason=str(error))
    text = f"nothing was kept: {error}; try again"
    return _respond(request, error.status_code, "service_unavailable", text, (), {"Retry-After": "5"})


async def _soniox_error(request: Request, error: SonioxError) -> JSONResponse:
    """Answer 503. Only the few routes that call Soniox can fail like this."""
    log.warning("soniox_unavailable", reason=error.message, http_status=error.status_code)
    return _respond(
        request, 503, "service_unavailable", "Soniox does not answer; try again", (), {"Retry-After": "5"}
    )


async def _validation(request: Request, error: RequestValidationError) -> JSONResponse:
    problems = tuple(
        (".".join(map(str, item["loc"])), _words(item["msg"]), item["type"]) for item in error.errors()
    )
    return _respond(request, 400, "invalid_request", "Invalid request.", problems)


async def _http(request: Request, error: HTTPException) -> JSONResponse:
    error_type = TYPE_OF.get(error.status_code, "invalid_request")
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(methods_of(request.app, request.url.path)) or headers.get("allow", "")
    return _respond(request, error.status_code, error_type, str(error.detail), (), headers)


async def _client_disconnected(request: Request, _error: Exception) -> JSONResponse:
    """Log that the caller disconnected in the middle of its request. The response is never read."""
    log.info("client_disconnected", path=request.url.path)
    return _respond(request, 400, "invalid_request", "the request ends in the middle")


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    """Answer 500. The response bypasses `RequestMiddleware`, so it sets `X-Request-ID` here."""
    log.error("request_failed", request_id=request.state.request_id, exc_info=error)
    text = "an unforeseen error; the request id finds it in the log"
    return _respond(request, 500, "internal_error", text, (), {"X-Request-ID": request.state.request_id})


def _words(message: str) -> str:
    return message.removeprefix("Value error, ")
