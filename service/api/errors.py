"""One renderer for every error that leaves the API, in Soniox's error body."""

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from service.errors import CallerError, SonioxError, Unavailable
from service.schemas import error_body

log = structlog.get_logger(__name__)

TYPE_OF = {404: "not_found", 405: "method_not_allowed", 413: "request_too_large", 415: "unsupported_media_type"}


def install(app: FastAPI) -> None:
    """Render all of them."""
    app.add_exception_handler(CallerError, _caller_error)  # type: ignore[arg-type]  # starlette types the base only
    app.add_exception_handler(Unavailable, _unavailable)
    app.add_exception_handler(SonioxError, _soniox_error)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, _validation)  # type: ignore[arg-type]
    app.add_exception_handler(HTTPException, _http)  # type: ignore[arg-type]
    app.add_exception_handler(Exception, _unforeseen)


def _respond(
    status_code: int,
    error_type: str,
    message: str,
    problems: tuple[tuple[str, str], ...] = (),
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    request_id = structlog.contextvars.get_contextvars().get("request_id", "")
    return JSONResponse(error_body(status_code, error_type, message, request_id, problems), status_code, headers)


async def _caller_error(_request: Request, error: CallerError) -> JSONResponse:
    headers = {"WWW-Authenticate": "Bearer"} if error.status_code == 401 else {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    return _respond(error.status_code, error.kind, error.message, error.problems, headers)


async def _unavailable(_request: Request, error: Exception) -> JSONResponse:
    log.warning("request_refused", reason=str(error))
    return _respond(503, "service_unavailable", f"nothing was kept: {error}; try again", (), {"Retry-After": "5"})


async def _soniox_error(_request: Request, error: SonioxError) -> JSONResponse:
    """For the few routes that pass a question on to Soniox."""
    log.warning("soniox_did_not_answer", reason=error.message, http_status=error.status_code)
    return _respond(503, "service_unavailable", "Soniox does not answer; try again", (), {"Retry-After": "5"})


async def _validation(_request: Request, error: RequestValidationError) -> JSONResponse:
    problems = tuple((".".join(str(part) for part in item["loc"]), str(item["msg"])) for item in error.errors())
    return _respond(400, "invalid_request", "Invalid request.", problems)


async def _http(_request: Request, error: HTTPException) -> JSONResponse:
    error_type = TYPE_OF.get(error.status_code, "invalid_request")
    return _respond(error.status_code, error_type, str(error.detail), (), dict(error.headers or {}))


async def _unforeseen(_request: Request, error: Exception) -> JSONResponse:
    log.error("request_failed", exc_info=error)
    return _respond(500, "internal_error", "an unforeseen error; the request id finds it in the log")
