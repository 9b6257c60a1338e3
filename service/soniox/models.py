"""Soniox's responses as models and errors, and the marks of the objects that this relay creates."""

from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import msgspec

from service.errors import (
    SonioxAuthError,
    SonioxError,
    SonioxNotFoundError,
    SonioxNotReadyError,
    SonioxOutcomeUnknownError,
    SonioxQuotaExceededError,
    SonioxRateLimitedError,
    SonioxRejectedError,
    SonioxUnreachableError,
)
from service.http_client import HttpResponse, not_sent, retry_after_s
from service.tables import Transcription

FINISHED_WELL = "completed"
FINISHED_BADLY = frozenset({"error", "failed"})  # the API uses `error`, its error documentation `failed`


class RemoteTranscription(msgspec.Struct, kw_only=True):
    """A transcription at Soniox. `audio_duration_ms` is 0 or None until processing begins."""

    id: str
    status: str
    created_at: str = ""
    model: str = ""
    filename: str | None = None
    audio_url: str | None = None
    file_id: str | None = None
    audio_duration_ms: int | None = None
    error_type: str | None = None
    error_message: str | None = None
    webhook_url: str | None = None
    webhook_status_code: int | None = None
    client_reference_id: str | None = None

    def job(self) -> str:
        """Return the job in its webhook URL, or an empty string."""
        return (parse_qs(urlsplit(self.webhook_url or "").query).get("job") or [""])[0]


class RemoteFile(msgspec.Struct, kw_only=True):
    """A file at Soniox. `size` is in bytes."""

    id: str
    filename: str = ""
    size: int = 0
    created_at: str = ""
    client_reference_id: str | None = None


class RemoteTranscriptionPage(msgspec.Struct, kw_only=True):
    """One page of transcriptions."""

    transcriptions: list[RemoteTranscription]
    next_page_cursor: str | None = None


class RemoteFilePage(msgspec.Struct, kw_only=True):
    """One page of files."""

    files: list[RemoteFile]
    next_page_cursor: str | None = None


class RemoteCount(msgspec.Struct, kw_only=True):
    """The number of objects in the key's project."""

    total: int


class ErrorDetail(msgspec.Struct):
    """One invalid field."""

    location: str = ""
    message: str = ""


class ErrorBody(msgspec.Struct, kw_only=True):
    """The fields of Soniox's error body that the relay uses."""

    error_type: str = ""
    message: str = ""
    request_id: str = ""
    validation_errors: list[ErrorDetail] = []


FILE_MARK = "soniox-relay:"
# The reconciler's own status values in the inbox. The collect stage asks Soniox again, then fails the job.
DELETED_FILE = "gone"  # Soniox does not have the transcription
STUCK_TRANSCRIPTION = "stuck"  # Soniox has not finished it before the deadline


def file_reference(job: Transcription) -> str:
    """Return the `client_reference_id` of the file uploaded for one attempt of a job."""
    return f"{FILE_MARK}{job.id}:{job.attempt}"


def job_of_reference(reference: str) -> str | None:
    """Return the job in a reference of `file_reference`. None for a foreign reference."""
    if not reference.startswith(FILE_MARK):
        return None
    return reference.removeprefix(FILE_MARK).rsplit(":", 1)[0]


TRANSIENT_STATUS = frozenset({408, 425, 500, 502, 503, 504})
MAX_RETRY_AFTER_S = 3600.0


def error_from_failure(error: Exception) -> SonioxError:
    """Return the error of a call without a response, depending on whether the request may have been sent."""
    kind = SonioxUnreachableError if not_sent(error) else SonioxOutcomeUnknownError
    return kind(f"no answer from Soniox ({type(error).__name__})")


def error_from_response(answer: HttpResponse) -> SonioxError:
    """Return the error of a response outside 2xx. Its body may be a proxy's HTML or empty."""
    body = _error_body(answer.content)
    return _kind_of(answer.status_code, body)(
        _message_of(body) or f"Soniox answered {answer.status_code}",
        status_code=answer.status_code,
        error_type=body.error_type,
        request_id=body.request_id,
        retry_after_s=retry_after_s(answer.headers.get("retry-after"), datetime.now(UTC), MAX_RETRY_AFTER_S),
    )


def _message_of(body: ErrorBody) -> str:
    """Return Soniox's message with its validation errors."""
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
            return SonioxAuthError
        case 404:
            return SonioxNotFoundError
        case 409:
            return SonioxNotReadyError
        case 429:
            return SonioxQuotaExceededError if _is_quota(body.message) else SonioxRateLimitedError
        case code if code in TRANSIENT_STATUS:
            return SonioxOutcomeUnknownError
        case _:
            return SonioxRejectedError


def _is_quota(message: str) -> bool:
    """Return whether a 429 means a full quota. Only its text says so: every 429 has the same `error_type`."""
    text = message.lower()
    return "per minute" not in text and any(
        word in text for word in ("count", "pending", "total", "storage", "bytes")
    )
