"""Webhooks, described for the OpenAPI document only: the events that are sent, and Soniox's calls to the relay.

`service.downstream` sends the events, and `service.webhook` answers Soniox.
"""

from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, Field

from service.api.responses import refusals
from service.event_types import EVENT_TYPES, EventType
from service.schemas import Open, Uuid
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


def _describe(event_type: EventType) -> None:
    def describe(event: BaseModel, signature: Signed) -> None: ...

    describe.__annotations__["event"] = event_type.model()
    name = event_type.name.replace(".", "_")
    sent.add_api_route(event_type.name, describe, methods=["POST"], name=name, summary=event_type.summary)


for each in EVENT_TYPES.values():
    _describe(each)


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
