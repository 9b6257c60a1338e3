"""The documents that leave the relay, each written down once: routes, events and OpenAPI share these models.

Reading order: base (what they have in common), errors, transcriptions, events. What belongs to one resource of the
API alone is beside its routes in `service.api`.
"""

from service.schemas.base import MASK, Moment, Open, Shown, Uuid
from service.schemas.errors import Error, error_body
from service.schemas.events import (
    EVENT_TYPES,
    DeletedTranscription,
    DisabledEndpoint,
    EventType,
    FinishedTranscription,
    Pinged,
    event_body,
    transcription_event_body,
)
from service.schemas.transcriptions import (
    TimelineStep,
    Transcription,
    TranscriptionWithSummary,
    TranscriptionWithTimeline,
)

__all__ = [
    "EVENT_TYPES",
    "MASK",
    "DeletedTranscription",
    "DisabledEndpoint",
    "Error",
    "EventType",
    "FinishedTranscription",
    "Moment",
    "Open",
    "Pinged",
    "Shown",
    "TimelineStep",
    "Transcription",
    "TranscriptionWithSummary",
    "TranscriptionWithTimeline",
    "Uuid",
    "error_body",
    "event_body",
    "transcription_event_body",
]
