"""The JSON documents that the relay sends. Routes, events and OpenAPI share these models.

Models of a single resource are next to its routes in `service.api`.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from typing_extensions import override

from service import tables
from service.clock import iso
from service.errors import Problems
from service.lifecycle import SonioxStatus, Stage, soniox_status
from service.transcripts.summary import Summary

MASK = "*" * 18  # as Soniox masks it

AT = "2026-11-20T14:00:00.125Z"
Moment = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time", "examples": [AT]})]
ID = "01a1f93b-7eb1-7ce7-8789-bd762a3e5689"
Uuid = Annotated[str, WithJsonSchema({"type": "string", "format": "uuid", "examples": [ID]})]


class Open(BaseModel):
    """More fields may come; callers must ignore what they do not know."""

    model_config = ConfigDict(extra="allow")


class Shown(Open):
    """What is made from a row: fields have the names of its columns, `created_at` that of `created_at_ms`."""

    @classmethod
    def of(cls, row: Any, **more: Any) -> Self:
        """Create the model from a row. `more` are fields that the row lacks or has in another form."""
        return cls(**{name: _read(row, name) for name in cls.model_fields if name not in more}, **more)


def _read(row: Any, name: str) -> Any:
    is_moment = name == "at" or name.endswith("_at")
    return iso(getattr(row, f"{name}_ms")) if is_moment else getattr(row, name)


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
    more_info: str | None = None


def error_body(
    status_code: int, error_type: str, message: str, request_id: str, problems: Problems = ()
) -> dict[str, Any]:
    """Return the error document."""
    wrong = [
        Problem(error_type=kind[0] if kind else "value_error", location=location, message=text)
        for location, text, *kind in problems
    ]
    return Error(
        status_code=status_code,
        error_type=error_type,
        message=message,
        validation_errors=wrong,
        request_id=request_id,
    ).model_dump()


class TimelineStep(Shown):
    """One step in the life of a transcription."""

    step: str = Field(examples=["accepted"])
    at: Moment
    source: str = Field(examples=["api"])
    http_status: int | None
    duration_ms: int | None
    detail: str | None


class TranscriptionPublic(Shown):
    """Soniox's object, then what the relay adds."""

    id: Uuid
    status: SonioxStatus = Field(examples=["completed"])
    created_at: Moment
    model: str = Field(examples=["stt-async-v5"])
    audio_url: str | None = Field(examples=["https://media.example.com/calls/1041.mp3"])
    file_id: str | None = Field(examples=[None])
    filename: str = Field(examples=["1041.mp3"])
    language_hints: list[str] | None = Field(examples=[["en", "de"]])
    enable_speaker_diarization: bool
    enable_language_identification: bool
    audio_duration_ms: int | None = Field(examples=[61_500])
    error_type: str | None = Field(examples=[None])
    error_message: str | None = Field(examples=[None])
    webhook_url: str | None = Field(examples=[None])
    webhook_auth_header_name: str | None = Field(examples=[None])
    webhook_auth_header_value: str | None = Field(description="Always masked.", examples=[None])
    webhook_status_code: int | None = Field(
        description="What your own webhook_url answered last.", examples=[None]
    )
    client_reference_id: str | None = Field(examples=["call-1041"])
    translation: dict[str, Any] | None = Field(examples=[None])
    context: dict[str, Any] | str | None = Field(examples=[None])
    stage: Stage = Field(description="Where it stands here, in more detail than `status`.", examples=["completed"])
    soniox_id: str | None
    metadata: dict[str, Any] | None = Field(examples=[{"tenant": "north"}])

    @override
    @classmethod
    def of(cls, row: tables.Transcription, **more: Any) -> Self:
        request = row.request
        return super().of(
            row,
            status=soniox_status(Stage(row.stage), row.soniox_status),
            audio_url=request.get("audio_url"),
            file_id=request.get("file_id") or row.file_id,
            language_hints=request.get("language_hints"),
            enable_speaker_diarization=bool(request.get("enable_speaker_diarization")),
            enable_language_identification=bool(request.get("enable_language_identification")),
            webhook_url=row.callback_url,
            webhook_auth_header_name=row.callback_header,
            webhook_auth_header_value=MASK if row.callback_secret_encrypted else None,
            webhook_status_code=row.callback_status_code,
            translation=request.get("translation"),
            context=request.get("context"),
            metadata=row.caller_metadata,
            **more,
        )


class TranscriptionWithSummary(TranscriptionPublic):
    """With figures of its transcript, once there is one."""

    summary: Summary | None


class TranscriptionWithTimeline(TranscriptionWithSummary):
    """With every step that was taken, too."""

    timeline: list[TimelineStep]


class Token(Open):
    """A piece of a word, a word or punctuation; a leading space begins a new word."""

    text: str = Field(examples=["Hello"])
    start_ms: int | None = Field(None, examples=[690])
    end_ms: int | None = Field(None, examples=[750])
    confidence: float | None = Field(None, examples=[0.99])
    speaker: str | None = Field(None, examples=["1"])
    language: str | None = None
    translation_status: str | None = Field(None, examples=["original"])
    is_audio_event: bool | None = None


class TranscriptPublic(Open):
    """Exactly what Soniox sent, with the relay's id."""

    id: Uuid
    text: str
    tokens: list[Token]


class FinishedTranscription(TranscriptionWithSummary):
    """The object as it ended, and where its transcript is."""

    transcript_url: str


class Removed(Open):
    """How much went with a transcription."""

    tokens: int
    files: int
    deliveries: int


class DeletedTranscription(Shown):
    """What remains of it."""

    id: Uuid
    client_reference_id: str | None
    created_at: Moment
    finished_at: Moment | None
    deleted_at: Moment
    stage: Stage
    reason: Literal["request", "retention"]
    removed: Removed


class DisabledEndpoint(Shown):
    """The endpoint that gets nothing any more, and why."""

    id: str
    url: str
    reason: str | None = Field(examples=["answered 410"])
    disabled_at: Moment


class Pinged(Open):
    """Which endpoint is tried out."""

    endpoint_id: str
