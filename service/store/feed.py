"""The event log as its readers follow it: in an order in which nothing appears behind them.

SQLite has one writer, so numbers become visible in their order. On PostgreSQL the transaction that took number 5
may commit after the one that took 6, and a reader that has gone on to 6 would never see 5. Each event therefore
carries its transaction, the order is (transaction, number), and readers see only transactions older than the
oldest one still open: docs/decisions/event-order.md.
"""

from dataclasses import dataclass

from sqlalchemy import select, text, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.rows import as_models
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


async def after(connection: AsyncConnection, position: Position, wanted: Wanted, limit: int) -> list[Event]:
    """The next events, oldest first."""
    query = select(events).where(tuple_(events.c.xact, events.c.seq) > position)
    if connection.dialect.name != "sqlite":
        query = query.where(SETTLED)
    if wanted.owner is not None:
        query = query.where(events.c.owner == wanted.owner)
    if wanted.types:
        query = query.where(events.c.type.in_(wanted.types))
    query = query.order_by(events.c.xact, events.c.seq).limit(limit)
    return as_models(Event, await connection.execute(query))


async def read_on(
    connection: AsyncConnection, position: Position, wanted: Wanted, limit: int
) -> tuple[list[Event], Position]:
    """The next events and the position behind them, past all that is not wanted."""
    newest = await last(connection)
    found = await after(connection, position, wanted, limit)
    if found and len(found) == limit:
        return found, _behind(found[-1])
    read = [_behind(event) for event in (newest, *found) if event]
    return found, max([position, *read])


def _behind(event: Event) -> Position:
    return event.xact, event.seq or 0


async def position_of(connection: AsyncConnection, event_id: str) -> Position | None:
    """Where an event stands; None when there is none of that id, or no longer."""
    query = select(events.c.xact, events.c.seq).where(events.c.id == event_id)
    found = (await connection.execute(query)).one_or_none()
    return None if found is None else (found.xact, found.seq)


async def position_before(connection: AsyncConnection, moment_ms: int) -> Position:
    """A position from which all events of `moment_ms` and later are still ahead."""
    query = select(events.c.xact, events.c.seq).where(events.c.created_at_ms >= moment_ms)
    found = (await connection.execute(query.order_by(events.c.xact, events.c.seq).limit(1))).one_or_none()
    if found is None:
        newest = await last(connection)
        return START if newest is None else _behind(newest)
    return found.xact, found.seq - 1


async def last(connection: AsyncConnection) -> Event | None:
    """The newest event that readers may see."""
    query = select(events).order_by(events.c.xact.desc(), events.c.seq.desc()).limit(1)
    if connection.dialect.name != "sqlite":
        query = query.where(SETTLED)
    found = as_models(Event, await connection.execute(query))
    return found[0] if found else None


async def adopt_restored(connection: AsyncConnection) -> None:
    """Events of a dump from another cluster carry transactions that are still to come here; put them first."""
    if connection.dialect.name != "sqlite":
        await connection.execute(update(events).where(FROM_ELSEWHERE).values(xact=0))
