"""/ui/deliveries: the list of deliveries, the attempts of each one, and a retry."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field
from sqlmodel import Session

from service.api.deliveries import printable
from service.api.deps import RelayDep
from service.api.pagination import Text, decode_cursor
from service.dashboard.render import OptionalText, first_page, page_after, render
from service.dashboard.session import FormOfSubmitter, ReaderSession, redirect_back
from service.lifecycle import DeliveryStatus
from service.services.deliveries import get_owned_delivery, retry_delivery
from service.store import deliveries, endpoints, events
from service.store.transcription_queries import Page
from service.tables import Delivery, Endpoint

router = APIRouter()

ROWS = 50

Id = Annotated[Text | None, Field(max_length=64), OptionalText]


class DeliveriesQuery(BaseModel):
    """The filters in the query string."""

    endpoint_id: Id = None
    event_id: Id = None
    status: Annotated[DeliveryStatus | None, OptionalText] = None
    cursor: str = ""


@router.get("/deliveries")
async def list_page(
    request: Request, relay: RelayDep, visitor: ReaderSession, asked: Annotated[DeliveriesQuery, Query()]
) -> Response:
    sees = visitor.caller.sees
    chosen = deliveries.DeliveryFilter(sees, asked.endpoint_id, asked.status, asked.event_id)

    def query(session: Session) -> tuple[list[Delivery], dict[str, int], dict[str, Endpoint]]:
        found = deliveries.page(session, chosen, Page(ROWS, decode_cursor(asked.cursor)))
        here = found[:ROWS]
        tried = deliveries.count_attempts(session, [one.id for one in here])
        receivers = endpoints.of_ids(session, {one.endpoint_id for one in here if one.endpoint_id}, sees)
        return found, tried, receivers

    found, tried, receivers = await relay.db.read(query)
    here = found[:ROWS]
    return render(
        request,
        "deliveries.html",
        sent=here,
        tried=tried,
        receivers=receivers,
        asked=asked,
        statuses=list(DeliveryStatus),
        first=first_page(request),
        older=page_after(request, here[-1]) if len(found) > ROWS else "",
    )


@router.get("/deliveries/{delivery_id}")
async def read(delivery_id: str, request: Request, relay: RelayDep, visitor: ReaderSession) -> Response:
    delivery = await get_owned_delivery(relay, delivery_id, visitor.caller)
    ids = {delivery.endpoint_id} if delivery.endpoint_id else set()
    attempts, event, receivers = await relay.db.read(
        lambda session: (
            deliveries.attempts_of(session, [delivery.id]),
            events.get(session, delivery.event_id),
            endpoints.of_ids(session, ids, visitor.caller.sees),
        )
    )
    shown = [(attempt, printable(attempt.answer)) for attempt in reversed(attempts)]
    return render(
        request,
        "delivery.html",
        delivery=delivery,
        attempts=shown,
        event=event,
        receiver=receivers.get(delivery.endpoint_id or ""),
    )


@router.post("/deliveries/{delivery_id}/retry")
async def retry(delivery_id: str, request: Request, relay: RelayDep, post: FormOfSubmitter) -> Response:
    await retry_delivery(relay, delivery_id, post.visitor.caller)
    return redirect_back(request, f"/ui/deliveries/{delivery_id}", "It is being sent again.")
