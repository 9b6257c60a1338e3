"""Sends one POST to a receiver and returns its outcome. A failure of the receiver never raises.

As Standard Webhooks defines it, 2xx is delivered, 410 means that the receiver wants no more, and anything else
is retried later. `Retry-After` on 429 and 503 is the shortest wait.
"""

import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus

from service.downstream.messages import Message
from service.downstream.ssrf import AddressGuard, AddressRefusedError
from service.http_client import (
    DisconnectedError,
    NotHttpError,
    RequestLimits,
    ResponseTooLargeError,
    new_client,
    retry_after_s,
    send_request,
)

MAX_RESPONSE = 64 * 1024  # bytes; a longer response counts as a failure
KEPT_RESPONSE = 1024  # bytes of the response that are stored
MAX_RETRY_AFTER_S = 24 * 3600
CONNECTIONS = 300  # more than the concurrency of the queue `deliver`


@dataclass(frozen=True)
class Outcome:
    """The outcome of one attempt. `answer` has the first bytes of the response."""

    status_code: int | None
    error: str | None
    duration_ms: int
    answer: bytes = b""
    retry_after_s: float | None = None

    @property
    def delivered(self) -> bool:
        return self.status_code is not None and 200 <= self.status_code < 300

    @property
    def wants_no_more(self) -> bool:
        return self.status_code == HTTPStatus.GONE


class DeliveryClient:
    """The HTTP client for receivers: checks addresses, limits time and size, follows no redirects."""

    def __init__(self, guard: AddressGuard, deadline_s: float) -> None:
        self.guard = guard
        self._http = new_client(
            headers={"Content-Type": "application/json"}, connections=CONNECTIONS, vet=guard.vet
        )
        self._caps = RequestLimits(deadline_s=deadline_s, bytes=MAX_RESPONSE)

    async def post(self, message: Message) -> Outcome:
        """Send the message once."""
        started = time.monotonic()
        try:
            answer = await send_request(
                self._http, "POST", message.url, self._caps, headers=message.headers, body=message.body
            )
        except Exception as error:  # noqa: BLE001  # any failure of a receiver is an outcome
            return Outcome(None, explain(error), _elapsed_ms(started))
        hint = answer.headers.get("retry-after") if answer.status_code in {429, 503} else None
        return Outcome(
            answer.status_code,
            None if answer.is_success else f"the receiver answered {answer.status_code}",
            _elapsed_ms(started),
            answer.content[:KEPT_RESPONSE],
            retry_after_s(hint, datetime.now(UTC), MAX_RETRY_AFTER_S),
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()


REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (AddressRefusedError, "the address is private or reserved; RELAY_ALLOWED_DESTINATIONS can allow it"),
    (ResponseTooLargeError, f"the answer is longer than {MAX_RESPONSE} bytes"),
    (ssl.SSLError, "no TLS connection: its certificate or protocol is not acceptable"),
    (socket.gaierror, "the host name cannot be resolved"),
    (ConnectionRefusedError, "nothing listens there (connection refused)"),
    (ConnectionResetError, "the connection was reset"),
    (DisconnectedError, "the connection was closed without an answer"),
    (NotHttpError, "the answer is not proper HTTP"),
    (TimeoutError, "no complete answer within the deadline"),
)


def explain(error: BaseException) -> str:
    """Describe an error in one line, without the URL, which may contain a secret."""
    causes = list(_causes(error))
    for kind, reason in REASONS:
        if any(isinstance(cause, kind) for cause in causes):
            return reason
    return f"no answer ({type(error).__name__})"


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _elapsed_ms(started: float) -> int:
    return int((time.monotonic() - started) * 1000)
