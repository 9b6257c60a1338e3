"""The documents of the API as OpenAPI describes them. Answers are not passed through these classes; tests and
schemathesis hold the answers against them."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.api.parts import Lenient
from service.lifecycle import SonioxStatus, Stage

MOMENT: dict[str, Any] = {"format": "date-time"}


class Open(BaseModel):
    """More fields may come; callers must ignore what they do not know."""

    model_config = ConfigDict(extra="allow")


class Problem(Open):
    """One wrong field."""

    error_type: str
    location: str = Field(description="Dotted, such as `body.payload.model`.")
    message: str


class Error(Open):
    """Every refusal. Branch on `error_type`, never on `message`; log `request_id`."""

    status_code: int
    error_type: str
    message: str
    validation_errors: list[Problem]
    request_id: str
    more_info: str | None


class TimelineStep(Open):
    """One step in the life of a transcription."""

    step: str
    at: str = Field(json_schema_extra=MOMENT)
    source: str
    http_status: int | None
    duration_ms: int | None
    detail: str | None


class Transcription(Open):
    """Soniox's object, then what the relay adds."""

    id: str = Field(json_schema_extra={"format": "uuid"})
    status: SonioxStatus
    created_at: str = Field(json_schema_extra=MOMENT)
    model: str
    audio_url: str | None
    file_id: str | None
    filename: str
    language_hints: list[str] | None
    enable_speaker_diarization: bool
    enable_language_identification: bool
    audio_duration_ms: int | None
    error_type: str | None
    error_message: str | None
    webhook_url: str | None
    webhook_auth_header_name: str | None
    webhook_auth_header_value: str | None = Field(description="Always masked.")
    webhook_status_code: int | None = Field(description="What your own webhook_url answered last.")
    client_reference_id: str | None
    translation: dict[str, Any] | None
    context: dict[str, Any] | str | None
    stage: Stage = Field(description="Where it stands here, in more detail than `status`.")
    soniox_id: str | None
    metadata: dict[str, Any] | None


class TranscriptionWithTimeline(Transcription):
    """With every step that was taken."""

    timeline: list[TimelineStep]


class TranscriptionPage(Open):
    """Some transcriptions."""

    transcriptions: list[Transcription]
    next_page_cursor: str | None = Field(description="null on the last page.")


class Count(Open):
    """How many there are."""

    total: int
    public_api: int
    playground: int


class File(Open):
    """An uploaded file; `size` in bytes."""

    id: str = Field(json_schema_extra={"format": "uuid"})
    filename: str
    size: int
    created_at: str = Field(json_schema_extra=MOMENT)
    client_reference_id: str | None


class FilePage(Open):
    """Some files."""

    files: list[File]
    next_page_cursor: str | None = Field(description="null on the last page.")


class Upload(BaseModel):
    """The form of POST /v1/files."""

    file: str = Field(json_schema_extra={"format": "binary"})
    client_reference_id: str = Field("", max_length=256)


class Model(Open):
    """A model as Soniox describes it."""

    id: str
    aliased_model_id: str | None
    name: str
    transcription_mode: Literal["async", "real_time"]


class Models(Open):
    """Soniox's models."""

    models: list[Model]


class Token(Lenient):
    """A piece of a word, a word or punctuation; a leading space begins a new word."""

    text: str
    start_ms: int | None = None
    end_ms: int | None = None
    confidence: float | None = None
    speaker: str | None = None
    language: str | None = None


class Transcript(Open):
    """Exactly what Soniox sent, with the relay's id."""

    id: str
    text: str
    tokens: list[Token]


class Key(Open):
    """An API key without its secret."""

    id: str
    name: str
    scopes: list[Literal["submit", "read", "admin"]]
    created_at: str = Field(json_schema_extra=MOMENT)
    last_used_at: str | None = Field(json_schema_extra=MOMENT)


class KeyWithSecret(Key):
    """The only answer that shows the key."""

    key: str


class Keys(Open):
    """All valid keys."""

    keys: list[Key]


class Notice(BaseModel):
    """What Soniox sends to a webhook: a hint, nothing more."""

    id: str = Field(json_schema_extra={"format": "uuid"})
    status: str = Field(max_length=64)


class FinishedTranscription(Transcription):
    """The object as it ended, and where its transcript is."""

    transcript_url: str


class DeletedTranscription(Open):
    """What remains of it."""

    id: str
    client_reference_id: str | None
    deleted_at: str = Field(json_schema_extra=MOMENT)
