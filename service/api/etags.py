"""ETag and If-None-Match, so that who asks again for what has not changed gets 304 and no body."""

import hashlib

from fastapi import Request, Response
from pydantic import BaseModel

JSON = "application/json"


def as_json(document: BaseModel, status_code: int = 200, headers: dict[str, str] | None = None) -> Response:
    """The document, with what only some answers of a route have."""
    return Response(document.model_dump_json(), status_code, headers, JSON)


def answer_once(request: Request, document: BaseModel | bytes) -> Response:
    """The document as JSON, or 304 when the caller has it already."""
    body = document if isinstance(document, bytes) else document.model_dump_json().encode()
    tag = f'W/"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if is_known(request, tag):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=JSON, headers=headers)


def is_known(request: Request, tag: str) -> bool:
    """True when If-None-Match names `tag`, compared weakly (RFC 9110, 13.1.2)."""
    named = [part.strip().removeprefix("W/") for part in request.headers.get("if-none-match", "").split(",")]
    return "*" in named or tag.removeprefix("W/") in named
