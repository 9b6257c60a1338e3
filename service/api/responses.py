"""Responses: errors and headers for OpenAPI, ETags and JSON."""

import hashlib
from typing import Any

from fastapi import Request, Response
from pydantic import BaseModel

from service.schemas import Error, error_body

Json = dict[str, Any]
Responses = dict[int | str, Json]

# For each status: error_type and message.
EXAMPLES: dict[int, tuple[str, str]] = {
    400: ("invalid_request", "Invalid request: Field required"),
    401: ("unauthenticated", "the key is unknown or was revoked"),
    403: ("permission_denied", "the key lacks the scope `submit`"),
    404: ("transcription_not_found", "Transcription not found."),
    408: ("request_timeout", "the body did not arrive in time"),
    409: ("transcription_invalid_state", "The transcription is not completed."),
    413: ("request_too_large", "the request is over 262144 bytes"),
    415: ("unsupported_media_type", "send application/json or multipart/form-data"),
    422: ("idempotency_key_mismatch", "this Idempotency-Key was used with another request; use a fresh key"),
    429: ("limit_exceeded", "the key may make 600000 requests per minute"),
    500: ("internal_error", "an unforeseen error; the request id finds it in the log"),
    503: ("service_unavailable", "nothing was kept: the database does not answer; try again"),
}
WRONG = ("body.payload.model", "Field required", "missing")
RETRY_AFTER = {"Retry-After": {"schema": {"type": "string"}, "description": "Seconds."}}


def refusals(*codes: int) -> Responses:
    """Return the error responses with these codes, for `responses=` of a router or a route."""
    return {code: _refusal(code) for code in codes}


def _refusal(code: int) -> Json:
    error_type, message = EXAMPLES[code]
    problems = (WRONG,) if code == 400 else ()
    example = error_body(code, error_type, message, "req_01a1f93b7e6e7d6aa5e33e50ca4aae80", problems)
    headers = {"headers": RETRY_AFTER} if code in {429, 503} else {}
    content = {"application/json": {"schema": ref_to(Error), "example": example}}
    return {"description": error_type, "content": content, **headers}


def with_headers(*headers: str) -> Json:
    """Return the headers of a response, for an entry of `responses=`."""
    return {"headers": {name: {"schema": {"type": "string"}} for name in headers}}


def ref_to(model: type[BaseModel] | str) -> Json:
    """Return a reference to a schema: of a model, or a name that `openapi` adds."""
    return {"$ref": f"#/components/schemas/{model if isinstance(model, str) else model.__name__}"}


def form_of(part: str, schema: Json, *, required: bool) -> Json:
    """Return the schema of a multipart form with a file and one other part."""
    parts = {"file": {"type": "string", "format": "binary"}, part: schema}
    wanted = ["file", part] if required else ["file"]
    return {"multipart/form-data": {"schema": {"type": "object", "required": wanted, "properties": parts}}}


# `openapi` removes 404 from paths without parameters.
COMMON_RESPONSES = refusals(400, 401, 403, 404, 429, 500, 503)
NOT_CHANGED: Responses = {
    200: with_headers("ETag"),
    304: {"description": "If-None-Match names what would be answered", **with_headers("ETag")},
}

JSON = "application/json"


def json_response(document: BaseModel, status_code: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return the document as JSON. Other status codes and headers are for routes whose responses differ."""
    return Response(document.model_dump_json(), status_code, headers, JSON)


def respond_unless_known(request: Request, document: BaseModel | bytes) -> Response:
    """Return the document as JSON with a weak ETag, or 304 if If-None-Match matches it."""
    body = document if isinstance(document, bytes) else document.model_dump_json().encode()
    tag = f'W/"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if matches_etag(request, tag):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=JSON, headers=headers)


def matches_etag(request: Request, tag: str) -> bool:
    """Return whether If-None-Match contains `tag`, by weak comparison (RFC 9110, 13.1.2)."""
    named = [part.strip().removeprefix("W/") for part in request.headers.get("if-none-match", "").split(",")]
    return "*" in named or tag.removeprefix("W/") in named
