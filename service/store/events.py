"""The event log and its fan-out to deliveries, written in the transaction of what the event tells."""

from urllib.parse import urlsplit

from sqlalchemy import BigInteger, Text, cast, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.ids import new_id
from service.store.endpoints import subscribed
from service.store.rows import as_model, insert_all, values_of
from service.tables import Attempt, Delivery, Event, table_of

events = table_of(Event)
deliveries = table_of(Delivery)
attempts = table_of(Attempt)

OWN_TRANSACTION = cast(cast(func.pg_current_xact_id(), Text), BigInteger)


async def append(
    connection: AsyncConnection, event: Event, *, callback_url: str | None = None, but_not: str | None = None
) -> int:
    """Write the event and a delivery for each receiver; gives back how many receivers there are.

    `callback_url` is the caller's own `webhook_url` of the event's transcription. What goes to a disabled endpoint
    is held: pending and not due. `but_not` is an endpoint that shall not get it.
    """
    await put(connection, event)
    sent = [
        _delivery(event, endpoint.id, endpoint.id, held=not endpoint.enabled)
        for endpoint in await subscribed(connection, event.owner, event.type)
        if endpoint.id != but_not
    ]
    if callback_url:
        sent.append(_delivery(event, None, callback_receiver(event.owner, callback_url), held=False))
    await insert_all(connection, sent)
    return len(sent)


async def put(connection: AsyncConnection, event: Event) -> None:
    """Write the event alone, marked on PostgreSQL with its transaction: see `feed`."""
    order = {} if connection.dialect.name == "sqlite" else {"xact": OWN_TRANSACTION}
    await connection.execute(insert(events).values({**values_of(event), **order}))


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
