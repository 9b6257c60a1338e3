"""How long and how large a request's body may be, before anybody asks whose it is.

FastAPI reads a JSON body before it looks at the key, so both bounds are kept here, on the way in. Uploads have a
cap of their own and are read after the key was checked; of them only progress is asked.
"""

import asyncio
from urllib.parse import quote_from_bytes

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST_BODY = 256 * 1024  # bytes
BODY_WITHIN_S = 10.0
UPLOAD_STALLS_AFTER_S = 60.0
UPLOADS = {"/v1/files", "/v1/transcriptions"}
ASCII = bytes(range(128))


class Bounds:
    """Pure ASGI, so that streams pass untouched."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if not scope["query_string"].isascii():  # Starlette decodes it as text, and fails
            scope = {**scope, "query_string": quote_from_bytes(scope["query_string"], ASCII).encode()}
        await self._app(scope, _progressing(receive) if _is_upload(scope) else _capped(receive), send)


def _is_upload(scope: Scope) -> bool:
    headers = dict(scope["headers"])
    return scope["path"] in UPLOADS and headers.get(b"content-type", b"").lower().startswith(b"multipart/")


def _capped(receive: Receive) -> Receive:
    """The whole body in time, and not too much of it."""
    deadline: float | None = asyncio.get_running_loop().time() + BODY_WITHIN_S
    size = 0

    async def take() -> Message:
        nonlocal size, deadline
        message = await _within(receive, deadline)
        size += len(message.get("body", b""))
        if size > LARGEST_BODY:
            raise HTTPException(413, f"the request is over {LARGEST_BODY} bytes")
        if not message.get("more_body"):
            deadline = None  # what follows is the end of the connection, which may be far off
        return message

    return take


def _progressing(receive: Receive) -> Receive:
    """Each piece soon after the one before."""
    whole = False

    async def take() -> Message:
        nonlocal whole
        deadline = None if whole else asyncio.get_running_loop().time() + UPLOAD_STALLS_AFTER_S
        message = await _within(receive, deadline)
        whole = not message.get("more_body")
        return message

    return take


async def _within(receive: Receive, deadline: float | None) -> Message:
    try:
        async with asyncio.timeout_at(deadline):
            return await receive()
    except TimeoutError:
        raise HTTPException(408, "the body did not arrive in time") from None
