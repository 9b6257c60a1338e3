"""The event log as its readers follow it: in an order in which nothing appears behind them.

SQLite has one writer, so numbers become visible in their order. On PostgreSQL the transaction that took number 5
may commit after the one that took 6, and a reader that has gone on to 6 would never see 5. Each event therefore
carries its transaction, the order is (transaction, number), and readers see only transactions older than the
oldest one still open: docs/decisions/event-order.md.
"""

from dataclasses import dataclass

from sqlalchemy import text, tuple_, update
from sqlmodel import Session, select

from service.store.rows import is_sqlite
from service.tables import Event, table_of

events = table_of(Event)

Position = tuple[int, int]  # (xact, seq) of the last event that was read

START: Position = (-1, 0)
SETTLED = text("events.xact < CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint)")
FROM_ELSEWHERE = text("xact >= CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint)")


@dataclass(frozen=True)
class Wanted:
    """Which events: those of `owner`, or everybody's for None; of `types`, or all when empty."""

    owner: str | None
    types: tuple[str, ...] = ()


def after(session: Session, position: Position, wanted: Wanted, limit: int) -> list[Event]:
    """The next events, oldest first."""
    query = select(Event).where(tuple_(events.c.xact, events.c.seq) > position)
    if not is_sqlite(session):
        query = query.where(SETTLED)
    if wanted.owner is not None:
        query = query.where(events.c.owner == wanted.owner)
    if wanted.types:
        query = query.where(events.c.type.in_(wanted.types))
    query = query.order_by(events.c.xact, events.c.seq).limit(limit)
    return list(session.exec(query))


def read_on(session: Session, position: Position, wanted: Wanted, limit: int) -> tuple[list[Event], Position]:
    """The next events and the position behind them, past all that is not wanted."""
    newest = last(session)
    found = after(session, position, wanted, limit)
    if found and len(found) == limit:
        return found, _behind(found[-1])
    read = [_behind(event) for event in (newest, *found) if event]
    return found, max([position, *read])


def _behind(event: Event) -> Position:
    return event.xact, event.seq or 0


def position_of(session: Session, event_id: str) -> Position | None:
    """Where an event stands; None when there is none of that id, or no longer."""
    query = select(events.c.xact, events.c.seq).where(events.c.id == event_id)
    return session.exec(query).one_or_none()


def position_before(session: Session, moment_ms: int) -> Position:
    """A position from which all events of `moment_ms` and later are still ahead."""
    query = select(events.c.xact, events.c.seq).where(events.c.created_at_ms >= moment_ms)
    found = session.exec(query.order_by(events.c.xact, events.c.seq).limit(1)).one_or_none()
    if found is None:
        newest = last(session)
        return START if newest is None else _behind(newest)
    xact, seq = found
    return xact, seq - 1


def last(session: Session) -> Event | None:
    """The newest event that readers may see."""
    query = select(Event).order_by(events.c.xact.desc(), events.c.seq.desc()).limit(1)
    if not is_sqlite(session):
        query = query.where(SETTLED)
    found = list(session.exec(query))
    return found[0] if found else None


def adopt_restored(session: Session) -> None:
    """Events of a dump from another cluster carry transactions that are still to come here; put them first."""
    if not is_sqlite(session):
        session.exec(update(events).where(FROM_ELSEWHERE).values(xact=0))
