"""What Soniox answers, read leniently: unknown fields are ignored, status words are kept as they come."""

from urllib.parse import parse_qs, urlsplit

import msgspec

FINISHED_WELL = "completed"
FINISHED_BADLY = frozenset({"error", "failed"})  # the API says error, its error page says failed


class RemoteTranscription(msgspec.Struct, kw_only=True):
    """A transcription as Soniox reports it; `audio_duration_ms` is 0 or None until processing begins."""

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
        """The relay id that its webhook URL carries, or an empty string."""
        return (parse_qs(urlsplit(self.webhook_url or "").query).get("job") or [""])[0]


class RemoteFile(msgspec.Struct, kw_only=True):
    """A file as Soniox reports it; `size` in bytes."""

    id: str
    filename: str = ""
    size: int = 0
    created_at: str = ""
    client_reference_id: str | None = None


class TranscriptionPage(msgspec.Struct, kw_only=True):
    """One page of a listing."""

    transcriptions: list[RemoteTranscription]
    next_page_cursor: str | None = None


class FilePage(msgspec.Struct, kw_only=True):
    """One page of a listing."""

    files: list[RemoteFile]
    next_page_cursor: str | None = None


class Count(msgspec.Struct, kw_only=True):
    """How many there are in the key's project."""

    total: int


class Problem(msgspec.Struct):
    """One wrong field."""

    location: str = ""
    message: str = ""


class ErrorBody(msgspec.Struct, kw_only=True):
    """Soniox's error body, as far as we use it."""

    error_type: str = ""
    message: str = ""
    request_id: str = ""
    validation_errors: list[Problem] = []
