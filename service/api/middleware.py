"""The middleware of every request: a request id, limits for the body, and a measurement.

It is a single pure ASGI middleware, so streams are not buffered and a webhook passes only one layer. FastAPI
reads a JSON body before it checks the key, so the limits are enforced here. An upload only has to progress;
its route checks the size.
"""

import asyncio
import time
from typing import NamedTuple
from urllib.parse import quote_from_bytes

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import telemetry
from service.ids import new_id, sane_request_id
from service.settings import WEBHOOK_PATH


class BodyLimit(NamedTuple):
    """How large a body may be, in bytes, and how long it may take, in seconds."""

    size: int
    within_s: float


BODY = BodyLimit(256 * 1024, 10.0)
WEBHOOK_BODY = BodyLimit(16 * 1024, 5.0)
UPLOAD_STALLS_AFTER_S = 60.0
UPLOAD_PATHS = {"/v1/files", "/v1/transcriptions"}
ASCII = bytes(range(128))


class RequestMiddleware:
    """Adds `X-Request-ID` to responses and log lines: the caller's own if `sane_request_id` accepts it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if not scope["query_string"].isascii():  # Starlette fails to decode other bytes
            scope["query_string"] = quote_from_bytes(scope["query_string"], ASCII).encode()
        exchange = _Exchange(scope, receive, send)
        structlog.contextvars.bind_contextvars(request_id=exchange.request_id)
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except Exception:
            exchange.observe(500)  # the response is made outside of this middleware
            raise


class _Exchange:
    """A request and its response."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        headers = dict(scope["headers"])
        given = sane_request_id(headers.get(b"x-request-id", b""))
        self.request_id = given or new_id("req", time.time_ns() // 1_000_000)
        self._state = scope.setdefault("state", {})
        self._state["request_id"] = self.request_id
        self._limit = WEBHOOK_BODY if scope["path"] == WEBHOOK_PATH else BODY
        self._is_upload = scope["path"] in UPLOAD_PATHS and _is_form(headers)
        self._began_s = asyncio.get_running_loop().time()
        self._deadline_s: float | None = self._began_s + self._limit.within_s
        self._size = 0
        self._is_observed = False

    async def receive(self) -> Message:
        if self._is_upload and self._deadline_s:
            self._deadline_s = asyncio.get_running_loop().time() + UPLOAD_STALLS_AFTER_S
        try:
            async with asyncio.timeout_at(self._deadline_s):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(408, "the body did not arrive in time") from None
        self._size += len(message.get("body", b""))
        if self._size > self._limit.size and not self._is_upload:
            raise HTTPException(413, f"the body is longer than {self._limit.size} bytes")
        if not message.get("more_body"):
            self._deadline_s = None  # the next message is the disconnect, which may come much later
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.observe(message["status"])
            added = {"x-request-id": self.request_id, **self._state.get("rate_limit", {})}
            message["headers"] = [
                *message.get("headers", ()),
                *((name.encode(), value.encode()) for name, value in added.items()),
            ]
        await self._send(message)

    def observe(self, status_code: int) -> None:
        """Count the request once, with the seconds until its response begins."""
        if not self._is_observed:
            self._is_observed = True
            seconds = asyncio.get_running_loop().time() - self._began_s
            labels = self._scope["method"], self._route(), str(status_code)
            telemetry.http_request_seconds.labels(*labels).observe(seconds)

    def _route(self) -> str:
        """Return the path template, since raw paths are unlimited. Starlette's own routes set no template."""
        if template := getattr(self._scope.get("route"), "path", None):
            return f"{self._scope.get('root_path', '')}{template}"
        return str(self._scope["path"]) if "endpoint" in self._scope else "none"


def _is_form(headers: dict[bytes, bytes]) -> bool:
    return headers.get(b"content-type", b"").lower().startswith(b"multipart/")
