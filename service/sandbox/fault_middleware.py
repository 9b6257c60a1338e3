"""The middleware in front of `/v1`: request ids, network faults, the API key and the rate limit."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, cast
from uuid import uuid4

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.sandbox.context import SandboxContext
from service.sandbox.faults import LoseAnswer, Refuse
from service.sandbox.limits import rate_message
from service.sandbox.schemas import ApiError, unauthenticated, usual_error_type

DISCONNECT_DEADLINE = 1


@dataclass
class RecordedResponse:
    status: int = 500
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    async def collect(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message["headers"])
        else:
            self.body += message.get("body", b"")

    async def send(self, send: Send, request_id: str) -> None:
        unsized = [(name, value) for name, value in self.headers if name != b"content-length"]
        extra = [(b"x-request-id", request_id.encode())]
        if self.status != HTTPStatus.NO_CONTENT:
            extra.append((b"content-length", str(len(self.body)).encode()))
        await send({"type": "http.response.start", "status": self.status, "headers": unsized + extra})
        await send({"type": "http.response.body", "body": self.body})


class FaultMiddleware:
    """Wraps the whole framework, because it needs the server's own `send` to reach the socket."""

    def __init__(self, desk: SandboxContext) -> None:
        self._desk = desk

    async def pass_on(self, scope: Scope, receive: Receive, send: Send, app: ASGIApp) -> None:
        route = route_of(scope["method"], scope["path"])
        request_id = scope["request_id"] = str(uuid4())
        self._desk.calls[route] += 1
        await self._linger(route)
        faults = self._desk.faults
        if faults.draw(faults.knobs.reset, route):
            return await cut(receive, send)
        try:
            answer = self._refusal(scope, route) or await self._answer_of(app, scope, receive)
        except ClientDisconnect:
            return None
        was_done = answer.status < HTTPStatus.BAD_REQUEST
        if was_done and (lost := faults.draw(faults.knobs.lose_answer, route)):
            return await self._lose(lost, receive, send, request_id)
        if answer.body and faults.draw(faults.knobs.truncate, route):
            answer.body = answer.body[: len(answer.body) // 2]
        self._desk.answers[str(answer.status)] += 1
        return await answer.send(send, request_id)

    async def _linger(self, route: str) -> None:
        faults = self._desk.faults
        if slow := faults.draw(faults.knobs.slow, route):
            await asyncio.sleep((slow.ms + faults.jitter(slow.jitter_ms)) / 1000)

    def _refusal(self, scope: Scope, route: str) -> RecordedResponse | None:
        faults = self._desk.faults
        if refuse := faults.draw(faults.knobs.refuse, route):
            return refused(refuse, scope["path"], scope["request_id"])
        try:
            self._check_key(dict(scope["headers"]))
            self._desk.quotas.admit_request(scope["path"])
        except ApiError as error:
            return json_answer(error, scope["request_id"])
        return None

    def _check_key(self, headers: Mapping[bytes, bytes]) -> None:
        if headers.get(b"authorization") != b"Bearer " + self._desk.config.api_key.encode():
            raise unauthenticated()

    async def _answer_of(self, app: ASGIApp, scope: Scope, receive: Receive) -> RecordedResponse:
        answer = RecordedResponse()
        await app(scope, receive, answer.collect)
        return answer

    async def _lose(self, lost: LoseAnswer, receive: Receive, send: Send, request_id: str) -> None:
        if lost.how == "status":
            refusal = Refuse(status=lost.status)
            return await refused(refusal, "", request_id).send(send, request_id)
        if lost.how == "hang":
            await wait_for_disconnect(receive, lost.hang_seconds)
        return await cut(receive, send)


def route_of(method: str, path: str) -> str:
    """Return the route, such as `GET /v1/transcriptions/{id}/transcript`, for faults and counters."""
    parts = path.split("/")
    if len(parts) > 3 and parts[3] not in ("", "count"):
        parts[3] = "{id}"
    return f"{method} {'/'.join(parts)}"


def refused(refuse: Refuse, path: str, request_id: str) -> RecordedResponse:
    if refuse.html:
        page = f"<!doctype html><html><body><h1>Error {refuse.status}</h1></body></html>"
        answer = RecordedResponse(refuse.status, [(b"content-type", b"text/html")], page.encode())
    else:
        usual = rate_message(path) if refuse.status == HTTPStatus.TOO_MANY_REQUESTS else "A fault was set."
        error_type = refuse.error_type or usual_error_type(refuse.status)
        answer = json_answer(ApiError(refuse.status, error_type, refuse.message or usual), request_id)
    if refuse.retry_after is not None:
        answer.headers.append((b"retry-after", refuse.retry_after.encode()))
    return answer


def json_answer(error: ApiError, request_id: str) -> RecordedResponse:
    body = json.dumps(error.body(request_id)).encode()
    return RecordedResponse(error.status, [(b"content-type", b"application/json")], body)


async def cut(receive: Receive, send: Send) -> None:
    """Cut the connection without an answer. ASGI has no message for this, so abort uvicorn's transport."""
    cast(Any, send).__self__.transport.abort()
    await wait_for_disconnect(receive, DISCONNECT_DEADLINE)


async def wait_for_disconnect(receive: Receive, deadline: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(deadline):
            while (await receive())["type"] != "http.disconnect":
                pass
