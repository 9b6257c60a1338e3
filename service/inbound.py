"""The last calls of the webhook route, refused ones too, as this process answered them. Kept in memory only.

What was accepted is in the inbox, for good and for all processes. This is for the question why nothing gets there.
"""

import time
from collections import deque
from typing import NamedTuple
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.clock import wall_ms
from service.settings import WEBHOOK_PATH

KEPT = 200
LONGEST_QUERY = 200  # bytes of what a stranger may have put into the URL


class Call(NamedTuple):
    """One call: what followed `?` in its URL, what we answered, and after how many microseconds."""

    at_ms: int
    query: bytes
    status_code: int
    took_us: int

    @property
    def job(self) -> str:
        """The transcription it names; empty for none."""
        return (parse_qs(self.query.decode("latin-1")).get("job") or [""])[0]


class Calls:
    """Pure ASGI around the application; the newest calls of its webhook route are in `newest`."""

    def __init__(self, app: ASGIApp, newest: deque[Call]) -> None:
        self._app = app
        self._newest = newest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != WEBHOOK_PATH:
            await self._app(scope, receive, send)
            return
        began_ns = time.perf_counter_ns()

        async def send_and_note(message: Message) -> None:
            if message["type"] == "http.response.start":
                took_us = (time.perf_counter_ns() - began_ns) // 1000
                query = scope["query_string"][:LONGEST_QUERY]
                self._newest.append(Call(wall_ms(), query, message["status"], took_us))
            await send(message)

        await self._app(scope, receive, send_and_note)


def no_calls() -> deque[Call]:
    """Room for the newest few."""
    return deque(maxlen=KEPT)
