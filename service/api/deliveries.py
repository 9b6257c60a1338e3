"""Deliveries: list them, read their attempts, and retry one."""

from fastapi import APIRouter
from pydantic import Field
from sqlmodel import Session

from service import tables
from service.api.deps import Reader, RelayDep, Submitter
from service.api.pagination import NextCursor, PageDep, Text, page_and_cursor
from service.api.responses import COMMON_RESPONSES, refusals
from service.clock import iso
from service.lifecycle import DeliveryStatus
from service.schemas import Moment, Open, Shown
from service.services.deliveries import get_owned_delivery, retry_delivery
from service.store import deliveries

router = APIRouter(prefix="/v1/deliveries", tags=["Deliveries"], responses=COMMON_RESPONSES)


class AttemptPublic(Shown):
    """One try of a delivery."""

    at: Moment
    status_code: int | None
    duration_ms: int
    error: str | None
    answer: str = Field(description="The first bytes of what came back, as far as they are text.")


class DeliveryPublic(Shown):
    """One event on its way to one receiver."""

    id: str
    event_id: str
    endpoint_id: str | None = Field(description="null: your own `webhook_url`.")
    transcription_id: str | None
    status: DeliveryStatus
    created_at: Moment
    next_attempt_at: Moment | None = Field(description="null: none is due.")
    delivered_at: Moment | None
    last_error: str | None
    attempt_count: int


class DeliveryWithAttempts(DeliveryPublic):
    """With all its tries."""

    attempts: list[AttemptPublic]


class DeliveryPage(Open):
    """Some deliveries."""

    deliveries: list[DeliveryPublic]
    next_page_cursor: NextCursor


@router.get("", summary="List deliveries")
async def list_page(
    caller: Reader,
    relay: RelayDep,
    page: PageDep,
    endpoint_id: Text | None = None,
    status: DeliveryStatus | None = None,
    event_id: Text | None = None,
) -> DeliveryPage:
    chosen = deliveries.DeliveryFilter(caller.sees, endpoint_id, status, event_id)

    def query(session: Session) -> tuple[list[tables.Delivery], dict[str, int]]:
        found = deliveries.page(session, chosen, page)
        return found, deliveries.count_attempts(session, [row.id for row in found])

    found, tried = await relay.db.read(query)
    here, cursor = page_and_cursor(found, page)
    shown = [DeliveryPublic.of(row, **_due(row), attempt_count=tried.get(row.id, 0)) for row in here]
    return DeliveryPage(deliveries=shown, next_page_cursor=cursor)


@router.get("/{delivery_id}", summary="Read a delivery with all its tries")
async def read(delivery_id: str, caller: Reader, relay: RelayDep) -> DeliveryWithAttempts:
    delivery = await get_owned_delivery(relay, delivery_id, caller)
    found = await relay.db.read(lambda session: deliveries.attempts_of(session, [delivery.id]))
    attempts = [attempt_shown(attempt) for attempt in found]
    return DeliveryWithAttempts.of(delivery, **_due(delivery), attempt_count=len(attempts), attempts=attempts)


@router.post(
    "/{delivery_id}/retry",
    summary="Send it again, with all tries of the schedule before it",
    responses=refusals(409),
)
async def retry(delivery_id: str, caller: Submitter, relay: RelayDep) -> DeliveryWithAttempts:
    await retry_delivery(relay, delivery_id, caller)
    return await read(delivery_id, caller, relay)


def attempt_shown(attempt: tables.Attempt) -> AttemptPublic:
    """Return an attempt as the API shows it."""
    return AttemptPublic.of(attempt, answer=printable(attempt.answer))


def _due(delivery: tables.Delivery) -> dict[str, str | None]:
    return {"next_attempt_at": iso(delivery.due_at_ms)}


def printable(answer: bytes) -> str:
    """Decode bytes as UTF-8. Characters that could control a terminal become U+FFFD."""
    text = answer.decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "\ufffd" for letter in text)
