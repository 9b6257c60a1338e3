"""A transcription as callers and subscribers see it: Soniox's object, and what the relay adds to it."""

from typing import Any, Self

from pydantic import Field
from typing_extensions import override

from service import tables
from service.lifecycle import SonioxStatus, Stage, soniox_status
from service.schemas.base import MASK, Moment, Open, Shown, Uuid
from service.transcripts.summary import Summary


class TimelineStep(Shown):
    """One step in the life of a transcription."""

    step: str = Field(examples=["accepted"])
    at: Moment
    source: str = Field(examples=["api"])
    http_status: int | None
    duration_ms: int | None
    detail: str | None


class Transcription(Shown):
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
            webhook_auth_header_value=MASK if row.callback_secret_sealed else None,
            webhook_status_code=row.callback_status_code,
            translation=request.get("translation"),
            context=request.get("context"),
            metadata=row.caller_metadata,
            **more,
        )


class TranscriptionWithSummary(Transcription):
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


class Transcript(Open):
    """Exactly what Soniox sent, with the relay's id."""

    id: Uuid
    text: str
    tokens: list[Token]
