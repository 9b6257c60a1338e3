"""The event log and its fan-out to deliveries, written in the transaction of what the event tells."""

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.ids import new_id
from service.store.endpoints import subscribed
from service.store.rows import as_model, insert_all
from service.tables import Attempt, Delivery, Event, table_of

events = table_of(Event)
deliveries = table_of(Delivery)
attempts = table_of(Attempt)


async def append(connection: AsyncConnection, event: Event, *, callback: bool) -> int:
    """Write the event and a delivery for each receiver; gives back how many receivers there are.

    `callback` adds the caller's own `webhook_url` of the event's transcription.
    """
    await insert_all(connection, [event])
    receivers: list[str | None] = [
        endpoint.id for endpoint in await subscribed(connection, event.owner, event.type)
    ]
    if callback:
        receivers.append(None)
    await insert_all(connection, [_delivery(event, endpoint_id) for endpoint_id in receivers])
    return len(receivers)


async def forget_results(connection: AsyncConnection, transcription_id: str) -> None:
    """Delete what was told about one transcription, and the deliveries that carried it."""
    theirs = deliveries.c.transcription_id == transcription_id
    old = select(deliveries.c.id).where(theirs)
    await connection.execute(delete(attempts).where(attempts.c.delivery_id.in_(old)))
    await connection.execute(delete(deliveries).where(theirs))
    await connection.execute(delete(events).where(events.c.transcription_id == transcription_id))


async def get(connection: AsyncConnection, event_id: str) -> Event | None:
    """One event."""
    return as_model(Event, await connection.execute(select(events).where(events.c.id == event_id)))


def _delivery(event: Event, endpoint_id: str | None) -> Delivery:
    return Delivery(
        id=new_id("dlv", event.created_at_ms),
        event_id=event.id,
        owner=event.owner,
        transcription_id=event.transcription_id,
        endpoint_id=endpoint_id,
        created_at_ms=event.created_at_ms,
        due_at_ms=event.created_at_ms,
    )
