"""The event log and its fan-out to deliveries, written in the transaction of what the event tells."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.ids import new_id
from service.store.changes import Change, insertion, run_together
from service.store.endpoints import subscribed
from service.store.rows import as_model, new
from service.tables import Attempt, Delivery, Endpoint, Event, table_of

events = table_of(Event)
deliveries = table_of(Delivery)
attempts = table_of(Attempt)

_NAMES = ", ".join(column.name for column in events.c if column.name not in {"seq", "xact"})
MARKED = f"""
    INSERT INTO events (xact, {_NAMES})
    SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint), {_NAMES} FROM new_events
"""  # noqa: S608  # names of ours


class Told(NamedTuple):
    """An event, and to whom it goes beside those who subscribed.

    `callback_url` is the caller's own `webhook_url` of the event's transcription; `but_not` is an endpoint that
    shall not get it.
    """

    event: Event
    callback_url: str | None = None
    but_not: str | None = None


async def append(connection: AsyncConnection, told: Sequence[Told]) -> None:
    """Write the events and a delivery of each for each receiver."""
    await run_together(connection, await telling(connection, told))


async def telling(connection: AsyncConnection, told: Sequence[Told]) -> list[Change]:
    """The events are written, and a delivery of each for each receiver.

    What goes to a disabled endpoint is held: pending and not due.
    """
    heard: dict[tuple[str, str], list[Endpoint]] = {}
    for owner, kind in {(one.event.owner, one.event.type) for one in told}:
        heard[owner, kind] = await subscribed(connection, owner, kind)
    sent = [delivery for one in told for delivery in _deliveries(one, heard[one.event.owner, one.event.type])]
    return [*writing([one.event for one in told]), *insertion(sent)]


async def put(connection: AsyncConnection, written: Sequence[Event]) -> None:
    """Write events alone."""
    await run_together(connection, writing(written))


def writing(written: Sequence[Event]) -> list[Change]:
    """Events are written, marked on PostgreSQL with their transaction: see `feed`."""
    return [change._replace(sql=MARKED) for change in insertion(written)]


async def forget_results(connection: AsyncConnection, transcription_id: str) -> int:
    """Delete what was told about one transcription, and the deliveries that carried it; how many those were."""
    theirs = deliveries.c.transcription_id == transcription_id
    old = select(deliveries.c.id).where(theirs)
    await connection.execute(delete(attempts).where(attempts.c.delivery_id.in_(old)))
    await connection.execute(delete(events).where(events.c.transcription_id == transcription_id))
    return (await connection.execute(delete(deliveries).where(theirs))).rowcount


async def get(connection: AsyncConnection, event_id: str) -> Event | None:
    """One event."""
    return as_model(Event, await connection.execute(select(events).where(events.c.id == event_id)))


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
    return new(
        Delivery,
        id=new_id("dlv", event.created_at_ms),
        event_id=event.id,
        owner=event.owner,
        transcription_id=event.transcription_id,
        endpoint_id=endpoint_id,
        receiver=receiver,
        created_at_ms=event.created_at_ms,
        due_at_ms=None if held else event.created_at_ms,
    )
