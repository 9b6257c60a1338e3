"""The event log and its fan-out to deliveries, written in the transaction of what the event tells."""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple
from urllib.parse import urlsplit

from sqlalchemy import BigInteger, Insert, Text, cast, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.ids import new_id
from service.store.endpoints import subscribed
from service.store.rows import as_model, insert_all, new, values_of
from service.tables import Attempt, Delivery, Endpoint, Event, table_of

events = table_of(Event)
deliveries = table_of(Delivery)
attempts = table_of(Attempt)

OWN_TRANSACTION = cast(cast(func.pg_current_xact_id(), Text), BigInteger)


class Told(NamedTuple):
    """An event, and to whom it goes beside those who subscribed.

    `callback_url` is the caller's own `webhook_url` of the event's transcription; `but_not` is an endpoint that
    shall not get it.
    """

    event: Event
    callback_url: str | None = None
    but_not: str | None = None


async def append(connection: AsyncConnection, told: Sequence[Told]) -> None:
    """Write the events and a delivery of each for each receiver.

    What goes to a disabled endpoint is held: pending and not due.
    """
    await put(connection, [one.event for one in told])
    heard: dict[tuple[str, str], list[Endpoint]] = {}
    for owner, kind in {(one.event.owner, one.event.type) for one in told}:
        heard[owner, kind] = await subscribed(connection, owner, kind)
    sent = [delivery for one in told for delivery in _deliveries(one, heard[one.event.owner, one.event.type])]
    await insert_all(connection, sent)


async def put(connection: AsyncConnection, written: Sequence[Event]) -> None:
    """Write events alone, marked on PostgreSQL with their transaction: see `feed`."""
    if written:
        await connection.execute(_insertion(connection.dialect.name), [values_of(event) for event in written])


@cache
def _insertion(dialect: str) -> Insert:
    return insert(events) if dialect == "sqlite" else insert(events).values(xact=OWN_TRANSACTION)


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
