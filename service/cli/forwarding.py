"""Sends events on as the relay would send them to an endpoint. Loaded by `listen`."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from service.downstream.messages import signed_headers

ANSWER_WITHIN_S = 15

Forward = Callable[[dict[str, Any]], dict[str, Any]]


@contextmanager
def open_forwarder(url: str, secret: str) -> Iterator[Forward]:
    """Gives a function that POSTs one event and tells what came of it, whatever that is."""
    headers = {"Content-Type": "application/json"}
    with httpx.Client(timeout=ANSWER_WITHIN_S, trust_env=False, headers=headers) as http:

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
        with http.stream("POST", url, content=body, headers=headers) as answer:  # the answer's body is not read
            return answer.status_code, None
    except httpx.ConnectError:
        return None, "nobody listens there"
    except httpx.TimeoutException:
        return None, f"no answer within {ANSWER_WITHIN_S} s"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return None, type(error).__name__
