"""The event types: one entry each, with its name, what it means, its data, and what a caller's callback is told.

Endpoints, the feed, OpenAPI, the dashboard and deliveries take their choices from here. A new event type is an
entry here, and the place that sends it.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from pydantic import BaseModel, Field, WithJsonSchema, create_model

from service.clock import iso
from service.ids import new_id
from service.schemas import (
    DeletedTranscription,
    DisabledEndpoint,
    FinishedTranscription,
    Moment,
    Open,
    Pinged,
    TranscriptPublic,
)
from service.tables import Event


class CompletedTranscription(FinishedTranscription):
    """With the transcript or its text, where the endpoint's `include` asks for it and it is not too long."""

    text: str | None = None
    transcript: TranscriptPublic | None = None


@dataclass(frozen=True)
class EventType:
    """`callback_status` is Soniox's word for it in the caller's own webhook; None: no callback is made."""

    name: str
    summary: str
    data: type[BaseModel]
    callback_status: str | None = None
    can_include_transcript: bool = False

    def model(self) -> type[BaseModel]:
        """The document that is sent, for OpenAPI."""
        name = "".join(word.capitalize() for word in self.name.replace(".", "_").split("_"))
        fields: dict[str, Any] = {
            "type": (Literal[self.name], Field()),
            "timestamp": (Moment, Field()),
            "data": (self.data, Field()),
        }
        return create_model(f"{name}Event", __base__=Open, __doc__=f"{self.summary}.", **fields)


COMPLETED = EventType(
    "transcription.completed",
    "A transcript is stored",
    CompletedTranscription,
    callback_status="completed",
    can_include_transcript=True,
)
FAILED = EventType(
    "transcription.failed",
    "A transcription ended with an error",
    FinishedTranscription,
    callback_status="error",
)
DELETED = EventType("transcription.deleted", "A transcription was deleted", DeletedTranscription)
DISABLED = EventType("endpoint.disabled", "An endpoint is disabled and receives no more events", DisabledEndpoint)
PING = EventType("ping", "A test that was asked for", Pinged)

EVENT_TYPES = {each.name: each for each in (COMPLETED, FAILED, DELETED, DISABLED, PING)}
EventName = Annotated[str, WithJsonSchema({"type": "string", "enum": list(EVENT_TYPES)})]


def check_names(names: list[str]) -> list[str]:
    """Return the names, each once. Raises ValueError for an unknown one."""
    if not EVENT_TYPES.keys() >= set(names):
        raise ValueError(f"unknown event type; there are {', '.join(EVENT_TYPES)}")
    return list(dict.fromkeys(names))


def event_body(event_type: EventType, at_ms: int, data: BaseModel) -> bytes:
    """Return the document that is stored, signed and sent."""
    return msgspec.json.encode({"type": event_type.name, "timestamp": iso(at_ms), "data": data.model_dump()})


def new_event(
    event_type: EventType,
    now_ms: int,
    data: BaseModel,
    *,
    owner: str,
    transcription_id: str | None = None,
    traceparent: str | None = None,
) -> Event:
    """Return the row of an event that happens at `now_ms`."""
    return Event(
        id=new_id("evt", now_ms),
        type=event_type.name,
        owner=owner,
        transcription_id=transcription_id,
        created_at_ms=now_ms,
        body=event_body(event_type, now_ms, data),
        traceparent=traceparent,
    )
