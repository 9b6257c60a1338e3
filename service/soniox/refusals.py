"""From what went wrong on the wire to the branch of the error tree that says what to do about it."""

from datetime import UTC, datetime

import msgspec

from service.errors import (
    SonioxError,
    SonioxKeyTrouble,
    SonioxNotFound,
    SonioxNotReady,
    SonioxOutOfRoom,
    SonioxRateLimited,
    SonioxRefused,
    SonioxUncertain,
    SonioxUnreachable,
)
from service.http_client import Answer, nothing_was_sent
from service.retry_after import retry_after_s
from service.soniox.models import ErrorBody

MAY_PASS = frozenset({408, 425, 500, 502, 503, 504})
LONGEST_WAIT_S = 3600.0


def from_failure(error: Exception) -> SonioxError:
    """For a call that brought no answer: did anything leave this machine?"""
    kind = SonioxUnreachable if nothing_was_sent(error) else SonioxUncertain
    return kind(f"no answer from Soniox ({type(error).__name__})")


def from_answer(answer: Answer) -> SonioxError:
    """For an answer outside 2xx; HTML and empty bodies of proxies included."""
    body = _error_body(answer.content)
    return _kind_of(answer.status_code, body)(
        _words_of(body) or f"Soniox answered {answer.status_code}",
        status_code=answer.status_code,
        error_type=body.error_type,
        request_id=body.request_id,
        retry_after_s=retry_after_s(answer.headers.get("retry-after"), datetime.now(UTC), LONGEST_WAIT_S),
    )


def _words_of(body: ErrorBody) -> str:
    """Soniox's message with the places it names."""
    places = [f"{problem.location}: {problem.message}" for problem in body.validation_errors]
    return " ".join([body.message, *places]).strip()


def _error_body(content: bytes) -> ErrorBody:
    try:
        return msgspec.json.decode(content, type=ErrorBody)
    except msgspec.MsgspecError:
        return ErrorBody()


def _kind_of(status_code: int, body: ErrorBody) -> type[SonioxError]:
    match status_code:
        case 401 | 402 | 403:
            return SonioxKeyTrouble
        case 404:
            return SonioxNotFound
        case 409:
            return SonioxNotReady
        case 429:
            return SonioxOutOfRoom if _is_about_room(body.message) else SonioxRateLimited
        case code if code in MAY_PASS:
            return SonioxUncertain
        case _:
            return SonioxRefused


def _is_about_room(message: str) -> bool:
    """All of Soniox's 429s share one error_type; only the text tells a full quota from a fast caller."""
    text = message.lower()
    return "per minute" not in text and any(
        word in text for word in ("count", "pending", "total", "storage", "bytes")
    )
