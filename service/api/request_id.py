"""Every request has an id, the caller's sane `X-Request-ID` or a new one, in each log line and answer."""

import re
import time

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.ids import new_id

SANE = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


class RequestIds:
    """Pure ASGI, so that streams pass untouched."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _given(scope) or new_id("req", time.time_ns() // 1_000_000)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (b"x-request-id", request_id.encode())]
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await self._app(scope, receive, send_with_id)


def _given(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and SANE.fullmatch(value):
            text: str = value.decode()
            return text
    return None
