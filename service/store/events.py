"""The event log: fan-out to deliveries, and the order for readers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

from sqlalchemy import delete, insert, text, tuple_, update
from sqlmodel import Session, select

from service.ids import new_id
from service.store.endpoints import subscribed
from service.store.statements import insert_all, is_sqlite, values_of
from service.tables import Attempt, Delivery, Endpoint, Event, table_of

events = table_of(Event)
deliveries = table_of(Delivery)
attempts = table_of(Attempt)

CURRENT_TRANSACTION = text("CAST(CAST(pg_current_xact_id() AS text) AS bigint)")


class EventDraft(NamedTuple):
    """An event, and its receivers besides the subscribed endpoints.

    `callback_url` is the caller's own `webhook_url` of the transcription. `but_not` is an endpoint to skip.
    """

    event: Event
    callback_url: str | None = None
    but_not: str | None = None


def append(session: Session, told: EventDraft) -> None:
    """Insert an event and a delivery for each receiver. Deliveries to a disabled endpoint are held: not due."""
    insert_event(session, told.event)
    insert_all(session, list(_deliveries(told, subscribed(session, told.event.owner, told.event.type))))


def insert_event(session: Session, event: Event) -> None:
    """Insert an event without deliveries. On PostgreSQL it gets the id of its transaction, see `after`."""
    values = values_of(event)
    if not is_sqlite(session):
        values["xact"] = CURRENT_TRANSACTION
    session.exec(insert(events).values(**values))


def clear_results(session: Session, transcription_id: str) -> int:
    """Delete the events, deliveries and attempts of a transcription. Return the number of deliveries."""
    theirs = deliveries.c.transcription_id == transcription_id
    old = select(deliveries.c.id).where(theirs)
    session.exec(delete(attempts).where(attempts.c.delivery_id.in_(old)))
    session.exec(delete(events).where(events.c.transcription_id == transcription_id))
    return session.exec(delete(deliveries).where(theirs)).rowcount


def get(session: Session, event_id: str) -> Event | None:
    """Return an event by id."""
    return session.exec(select(Event).where(events.c.id == event_id)).one_or_none()


def callback_receiver(owner: str, url: str) -> str:
    """Return the receiver id of a callback: one queue for each caller and server."""
    parts = urlsplit(url)
    return f"callback:{owner}:{parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}"


def _deliveries(told: EventDraft, heard: Sequence[Endpoint]) -> Iterator[Delivery]:
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


Position = tuple[int, int]  # (xact, seq) of the last event that was read

START: Position = (-1, 0)
SETTLED = text("events.xact < CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint)")
FROM_ELSEWHERE = text("xact >= CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint)")


@dataclass(frozen=True)
class EventFilter:
    """Which events to read: of `owner`, or of all owners for None; of `types`, or all types when empty."""

    owner: str | None
    types: tuple[str, ...] = ()


def after(session: Session, position: Position, wanted: EventFilter, limit: int) -> list[Event]:
    """Return the next events after `position`, oldest first.

    On PostgreSQL only events older than every open transaction are visible, so none appears behind a reader.
    """
    query = select(Event).where(tuple_(events.c.xact, events.c.seq) > position)
    if not is_sqlite(session):
        query = query.where(SETTLED)
    if wanted.owner is not None:
        query = query.where(events.c.owner == wanted.owner)
    if wanted.types:
        query = query.where(events.c.type.in_(wanted.types))
    query = query.order_by(events.c.xact, events.c.seq).limit(limit)
    return list(session.exec(query))


def follow(session: Session, position: Position, wanted: EventFilter, limit: int) -> tuple[list[Event], Position]:
    """Return the next events and the position after them, which also skips events that are not wanted."""
    newest = newest_position(session)
    found = after(session, position, wanted, limit)
    if found and len(found) == limit:
        return found, _behind(found[-1])
    read = [_behind(event) for event in (newest, *found) if event]
    return found, max([position, *read])


def _behind(event: Event) -> Position:
    return event.xact, event.seq or 0


def position_of(session: Session, event_id: str) -> Position | None:
    """Return the position of an event, or None when it does not exist or was deleted."""
    query = select(events.c.xact, events.c.seq).where(events.c.id == event_id)
    return session.exec(query).one_or_none()


def position_before(session: Session, moment_ms: int) -> Position:
    """Return a position before all events created at `moment_ms` or later."""
    query = select(events.c.xact, events.c.seq).where(events.c.created_at_ms >= moment_ms)
    found = session.exec(query.order_by(events.c.xact, events.c.seq).limit(1)).one_or_none()
    if found is None:
        newest = newest_position(session)
        return START if newest is None else _behind(newest)
    xact, seq = found
    return xact, seq - 1


def newest_position(session: Session) -> Event | None:
    """Return the newest event visible to readers."""
    query = select(Event).order_by(events.c.xact.desc(), events.c.seq.desc()).limit(1)
    if not is_sqlite(session):
        query = query.where(SETTLED)
    found = list(session.exec(query))
    return found[0] if found else None


def adopt_restored(session: Session) -> None:
    """Move events restored from another cluster to the front: their transaction ids are in the future here."""
    if not is_sqlite(session):
        session.exec(update(events).where(FROM_ELSEWHERE).values(xact=0))
