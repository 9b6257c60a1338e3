"""Webhooks, for the OpenAPI document alone: the events that are sent, and what Soniox calls here.

`downstream` sends the events; `service.webhook` answers Soniox.
"""

from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, Field

from service.api.responses import refusals
from service.schemas import (
    DeletedTranscription,
    DisabledEndpoint,
    FinishedTranscription,
    Moment,
    Open,
    Pinged,
    Transcript,
    Uuid,
)
from service.settings import WEBHOOK_PATH

sent = APIRouter(
    tags=["Events"],
    default_response_class=Response,
    responses={200: {"description": "Taken; anything but 2xx is sent again"}},
    generate_unique_id_function=lambda route: f"event_{route.name}",
)
received = APIRouter(tags=["Soniox"], responses=refusals(400, 401, 408, 413, 500, 503))


class Signature(BaseModel):
    """Standard Webhooks 1.0; the id is the same for every try."""

    webhook_id: str
    webhook_timestamp: str
    webhook_signature: str


Signed = Annotated[Signature, Header()]


class AnnouncedTranscription(FinishedTranscription):
    """With the transcript or its text, where the endpoint's `include` asks for it and it is not too long."""

    text: str | None = None
    transcript: Transcript | None = None


class CompletedEvent(Open):
    """A transcript is stored."""

    type: Literal["transcription.completed"]
    timestamp: Moment
    data: AnnouncedTranscription


class FailedEvent(Open):
    """A transcription ended with an error."""

    type: Literal["transcription.failed"]
    timestamp: Moment
    data: FinishedTranscription


class DeletedEvent(Open):
    """A transcription and its transcript were deleted."""

    type: Literal["transcription.deleted"]
    timestamp: Moment
    data: DeletedTranscription


class DisabledEvent(Open):
    """An endpoint answered 410, or failed for too long: nothing is sent to it any more."""

    type: Literal["endpoint.disabled"]
    timestamp: Moment
    data: DisabledEndpoint


class PingEvent(Open):
    """A test that somebody asked for."""

    type: Literal["ping"]
    timestamp: Moment
    data: Pinged


@sent.post("transcription.completed", summary="A transcript is stored")
def transcription_completed(event: CompletedEvent, signature: Signed) -> None: ...


@sent.post("transcription.failed", summary="A transcription ended with an error")
def transcription_failed(event: FailedEvent, signature: Signed) -> None: ...


@sent.post("transcription.deleted", summary="A transcription was deleted")
def transcription_deleted(event: DeletedEvent, signature: Signed) -> None: ...


@sent.post("endpoint.disabled", summary="An endpoint gets nothing any more")
def endpoint_disabled(event: DisabledEvent, signature: Signed) -> None: ...


@sent.post("ping", summary="A test that somebody asked for")
def ping(event: PingEvent, signature: Signed) -> None: ...


class WebhookBody(BaseModel):
    """What Soniox sends: a hint, nothing more."""

    id: Uuid
    status: str = Field(max_length=64, examples=["completed"])


class Receipt(Open):
    """It is on disk."""

    received: Literal[True]


@received.post(
    WEBHOOK_PATH, summary="What Soniox calls when a transcription has ended", operation_id="soniox_webhook"
)
def soniox_webhook(
    notice: WebhookBody, job: Annotated[str | None, Query(description="The relay's id.")] = None
) -> Receipt:
    """The header SONIOX_API_WEBHOOK_HEADER must carry the secret of the job."""
    raise NotImplementedError
