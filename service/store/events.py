"""The event log and its fan-out to deliveries, written in the transaction of what the event tells."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from sqlalchemy import delete, insert, text
from sqlmodel import Session, select

from service.ids import new_id
from service.store.endpoints import subscribed
from service.store.rows import insert_all, is_sqlite, values_of
from service.tables import Attempt, Delivery, Endpoint, Event, table_of

events = table_of(Event)
deliveries = table_of(Delivery)
attempts = table_of(Attempt)

CURRENT_TRANSACTION = text("CAST(CAST(pg_current_xact_id() AS text) AS bigint)")


class Told(NamedTuple):
    """An event, and to whom it goes beside those who subscribed.

    `callback_url` is the caller's own `webhook_url` of the event's transcription; `but_not` is an endpoint that
    shall not get it.
    """

    event: Event
    callback_url: str | None = None
    but_not: str | None = None


def append(session: Session, told: Told) -> None:
    """Write the event and a delivery for each receiver. What goes to a disabled endpoint is held: not due."""
    put(session, told.event)
    insert_all(session, list(_deliveries(told, subscribed(session, told.event.owner, told.event.type))))


def put(session: Session, event: Event) -> None:
    """Write an event alone, marked on PostgreSQL with its transaction: see `feed`."""
    values = values_of(event)
    if not is_sqlite(session):
        values["xact"] = CURRENT_TRANSACTION
    session.exec(insert(events).values(**values))


def forget_results(session: Session, transcription_id: str) -> int:
    """Delete what was told about one transcription, and the deliveries that carried it; how many those were."""
    theirs = deliveries.c.transcription_id == transcription_id
    old = select(deliveries.c.id).where(theirs)
    session.exec(delete(attempts).where(attempts.c.delivery_id.in_(old)))
    session.exec(delete(events).where(events.c.transcription_id == transcription_id))
    return session.exec(delete(deliveries).where(theirs)).rowcount


def get(session: Session, event_id: str) -> Event | None:
    """One event."""
    return session.exec(select(Event).where(events.c.id == event_id)).one_or_none()


def callback_receiver(owner: str, url: str) -> str:
    """Callbacks of one caller to one server wait for one another, and for nobody else."""
    parts = urlsplit(url)
    return f"callback:{owner}:{parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}"


def _deliveries(told: Told, heard: Sequence[Endpoint]) -> Iterator[Delivery]:
    event = told.event
    for endpoint in heard:
        if endpoint.id != told.but_not:
            yield _delivery(event, endpoint.id, endpoint.id, held=not endpoint.enabled)
    if told.callback_url:
        yield _delivery(event, None, callback_receiver(event.owner, told.callback_url), held=False)


def _delivery(event: Event, endpoint_id: str | None, receiver: str, *, held: bool) -> Delivery:
    return Delivery(
        id=new_id("dlv", event.created_at_ms),
        event_id=event.id,
        owner=event.owner,
        transcription_id=event.transcription_id,
        endpoint_id=endpoint_id,
        receiver=receiver,
        created_at_ms=event.created_at_ms,
        due_at_ms=None if held else event.created_at_ms,
    )
