"""Deliveries and their attempts."""

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.lifecycle import DeliveryStatus
from service.store.claims import DONE, FREE, still_held
from service.store.rows import as_models, insert_all
from service.tables import Attempt, Delivery, table_of

deliveries = table_of(Delivery)
attempts = table_of(Attempt)


async def settle(
    connection: AsyncConnection, row: Delivery, attempt: Attempt, status: DeliveryStatus, next_at_ms: int | None
) -> bool:
    """Write down one try and what follows from it; False when the claim was lost."""
    await insert_all(connection, [attempt])
    values = {**(DONE if next_at_ms is None else FREE), "due_at_ms": next_at_ms, "status": status}
    values |= {"tries": row.tries + 1, "last_error": attempt.error}
    if status is DeliveryStatus.DELIVERED:
        values["delivered_at_ms"] = attempt.at_ms + attempt.duration_ms
    result = await connection.execute(update(deliveries).where(still_held(Delivery, row)).values(**values))
    return result.rowcount == 1


async def of_transcription(connection: AsyncConnection, transcription_id: str) -> list[Delivery]:
    """All deliveries about one transcription, oldest first."""
    query = select(deliveries).where(deliveries.c.transcription_id == transcription_id)
    return as_models(
        Delivery, await connection.execute(query.order_by(deliveries.c.created_at_ms, deliveries.c.id))
    )


async def attempts_of(connection: AsyncConnection, delivery_ids: list[str]) -> list[Attempt]:
    """All tries of some deliveries, oldest first."""
    query = select(attempts).where(attempts.c.delivery_id.in_(delivery_ids)).order_by(attempts.c.id)
    return as_models(Attempt, await connection.execute(query))
