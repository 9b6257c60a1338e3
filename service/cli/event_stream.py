"""Follow the event stream across broken connections, and forward events to a local address."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from service.cli.client import RelayClient, given
from service.cli.console import TimedOutError, TransientError, stderr_console
from service.downstream.messages import signed_headers

STREAM = "/v1/events/stream"
SILENT_S = 45  # the relay sends at least a comment every 15 s
RETRY_AFTER_S = 1


@dataclass(frozen=True)
class StreamMessage:
    """One block of the stream. A block without `data` only carries the position `id`."""

    id: str
    data: bytes


def follow(relay: RelayClient, after: str | None, types: list[str]) -> Iterator[dict[str, Any]]:
    """Yield each event once, without end, starting after the event `after` or from now on.

    Reconnects when the connection breaks. Raises CommandError when the relay refuses the request, or cannot be
    reached for the first time.
    """
    position, begun = after, False
    timeout = httpx.Timeout(SILENT_S)
    while True:
        params = given(types=",".join(types) or None, after=position)
        headers = {"Last-Event-ID": position} if position else {}
        try:
            with relay.stream(STREAM, params=params, headers=headers, timeout=timeout) as pieces:
                for message in messages(pieces):
                    begun, position = True, message.id or position
                    if message.data:
                        yield json.loads(message.data)
        except (TransientError, TimedOutError) as problem:
            if not begun:
                raise
            stderr_console().print(f"{problem.message}; trying again", markup=False, soft_wrap=True)
        time.sleep(RETRY_AFTER_S)


def messages(pieces: Iterable[bytes]) -> Iterator[StreamMessage]:
    """Yield the blocks of a stream of server-sent events. An incomplete last block is skipped."""
    fields: dict[bytes, bytes] = {}
    for line in _lines(pieces):
        name, _, value = line.partition(b":")
        if line:
            fields[name] = value.removeprefix(b" ")
        elif fields:
            yield StreamMessage(fields.get(b"id", b"").decode(), fields.get(b"data", b""))
            fields = {}


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Split at LF alone, because the text of an event may contain other Unicode line separators."""
    rest: list[bytes] = []
    for piece in pieces:
        *ended, last = piece.split(b"\n")
        for line in ended:
            yield b"".join([*rest, line])
            rest = []
        rest.append(last)


FORWARD_TIMEOUT_S = 15

Forward = Callable[[dict[str, Any]], dict[str, Any]]


@contextmanager
def open_forwarder(url: str, secret: str) -> Iterator[Forward]:
    """Yield a function that POSTs one signed event and returns the outcome, including a failure."""
    headers = {"Content-Type": "application/json"}
    with httpx.Client(timeout=FORWARD_TIMEOUT_S, trust_env=False, headers=headers) as http:

        def forward(event: dict[str, Any]) -> dict[str, Any]:
            body = json.dumps(
                {name: event[name] for name in ("type", "timestamp", "data")},
                ensure_ascii=False,
                separators=(",", ":"),
            ).encode()
            started = time.monotonic()
            status, error = _post(http, url, body, signed_headers(event["id"], int(time.time()), body, [secret]))
            return {
                "event_id": event["id"],
                "type": event["type"],
                "status_code": status,
                "error": error,
                "duration_ms": round((time.monotonic() - started) * 1000),
            }

        yield forward


def _post(http: httpx.Client, url: str, body: bytes, headers: dict[str, str]) -> tuple[int | None, str | None]:
    try:
        with http.stream("POST", url, content=body, headers=headers) as answer:  # without reading the body
            return answer.status_code, None
    except httpx.ConnectError:
        return None, "nothing listens there"
    except httpx.TimeoutException:
        return None, f"no answer within {FORWARD_TIMEOUT_S} s"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return None, type(error).__name__
