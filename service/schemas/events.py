"""Events: what is stored, signed and sent, and read from the feed."""

from typing import Any, Literal, get_args

import msgspec
from pydantic import BaseModel, Field

from service import tables
from service.clock import iso
from service.lifecycle import Stage
from service.schemas.base import Moment, Open, Shown, Uuid
from service.schemas.transcriptions import TranscriptionWithSummary

EventType = Literal[
    "transcription.completed", "transcription.failed", "transcription.deleted", "endpoint.disabled", "ping"
]
EVENT_TYPES: tuple[EventType, ...] = get_args(EventType)


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


def event_body(event_type: str, at_ms: int, data: BaseModel) -> bytes:
    """The document that is stored, signed and sent."""
    return msgspec.json.encode({"type": event_type, "timestamp": iso(at_ms), "data": data.model_dump()})


def transcription_event_body(
    event_type: str, at_ms: int, job: tables.Transcription, base_url: str, summary: dict[str, Any] | None
) -> bytes:
    """For `transcription.*`: the object, the summary of its transcript, and where that is."""
    link = f"{base_url}/v1/transcriptions/{job.id}/transcript"
    return event_body(event_type, at_ms, FinishedTranscription.of(job, summary=summary, transcript_url=link))
