"""What every answer carries: the request's id and the rate limit of its key.

The id is the caller's sane `X-Request-ID` or a new one; it is in each log line, too.
"""

import time

import structlog
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.ids import new_id, sane_request_id


class RequestIds:
    """Pure ASGI, so that streams pass untouched."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _given(scope) or new_id("req", time.time_ns() // 1_000_000)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = {"X-Request-ID": request_id, **state.get("rate_limit", {})}
                MutableHeaders(scope=message).update(told)
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await self._app(scope, receive, send_with_headers)


def _given(scope: Scope) -> str | None:
    return next((sane_request_id(value) for name, value in scope["headers"] if name == b"x-request-id"), None)
