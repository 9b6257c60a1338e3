"""Send one POST and say what came of it. The outcome is a value; a receiver cannot make this raise.

Standard Webhooks decides: 2xx is delivered, everything else is tried again later, 410 means that the receiver
wants no more. `Retry-After` on 429 and 503 is never undercut.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx

from service.downstream.guard import Guard
from service.http import Caps, new_client, read_capped, retry_after_s

MOST_OF_ANSWER = 64 * 1024  # bytes read of an answer; more counts as a broken receiver
KEPT_OF_ANSWER = 1024  # bytes of it that are stored
LONGEST_RETRY_AFTER_S = 24 * 3600
CONNECTIONS = 100


@dataclass(frozen=True)
class Outcome:
    """What one try came to; `answer` is the first bytes, whatever they are."""

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
        return self.status_code == httpx.codes.GONE


class Sender:
    """The client for receivers: guarded, bounded, without redirects."""

    def __init__(self, guard: Guard, deadline_s: float) -> None:
        self._http = new_client(headers={"User-Agent": "soniox-relay"}, connections=CONNECTIONS, vet=guard.vet)
        self._caps = Caps(deadline_s=deadline_s, bytes=MOST_OF_ANSWER)

    async def post(self, url: str, headers: dict[str, str], body: bytes) -> Outcome:
        """One try."""
        started = time.monotonic()
        try:
            request = self._http.build_request(
                "POST", url, headers={"Content-Type": "application/json", **headers}, content=body
            )
            answer, _ = await read_capped(self._http, request, self._caps)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            return Outcome(None, explain(error), _since(started))
        hint = answer.headers.get("retry-after") if answer.status_code in {429, 503} else None
        return Outcome(
            answer.status_code,
            None if answer.is_success else f"the receiver answered {answer.status_code}",
            _since(started),
            answer.content[:KEPT_OF_ANSWER],
            retry_after_s(hint, datetime.now(UTC), LONGEST_RETRY_AFTER_S),
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()


def explain(error: BaseException) -> str:
    """One line for operators, without the URL, which may carry a secret."""
    if isinstance(error, TimeoutError):
        return "no complete answer within the deadline"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and "RELAY_ALLOWED_DESTINATIONS" in str(cause):
            return "the address is private or reserved; RELAY_ALLOWED_DESTINATIONS can allow it"
        cause = cause.__cause__ or cause.__context__
    return f"no answer ({type(error).__name__})"


def _since(started: float) -> int:
    return int((time.monotonic() - started) * 1000)
