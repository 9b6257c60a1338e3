"""What somebody should look at: newest first, a few of each."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from service.lifecycle import TRIPPED_AFTER, DeliveryStatus
from service.store.history import FAILED
from service.store.rows import as_models
from service.tables import IS_SETTLED, Delivery, Endpoint, Receiver, Transcription, table_of

jobs = table_of(Transcription)
deliveries = table_of(Delivery)
endpoints = table_of(Endpoint)
receivers = table_of(Receiver)

SHOWN = 5


async def failed(connection: AsyncConnection, since_ms: int, owner: str | None) -> tuple[int, list[Transcription]]:
    """How many transcriptions failed since then and stayed so, and the last of them."""
    total, found = 0, []
    for stage, source in FAILED:  # one by one, each is a range of the index
        query = select(jobs).where(jobs.c.stage == stage, jobs.c.learned_from == source)
        query = _of(query.where(jobs.c.finished_at_ms >= since_ms), jobs, owner)
        number, newest = await _newest(connection, query, jobs.c.finished_at_ms)
        total += number
        found += as_models(Transcription, newest)
    return total, sorted(found, key=lambda job: job.finished_at_ms or 0, reverse=True)[:SHOWN]


async def exhausted(connection: AsyncConnection, since_ms: int, owner: str | None) -> tuple[int, list[Delivery]]:
    """How many deliveries made since then were given up, and the last of them."""
    query = select(deliveries).where(text(IS_SETTLED), deliveries.c.status == DeliveryStatus.EXHAUSTED)
    query = _of(query.where(deliveries.c.created_at_ms >= since_ms), deliveries, owner)
    number, newest = await _newest(connection, query, deliveries.c.created_at_ms)
    return number, as_models(Delivery, newest)


async def disabled(connection: AsyncConnection, owner: str | None) -> list[Endpoint]:
    """Endpoints that the relay disabled, not their owner."""
    query = select(endpoints).where(endpoints.c.enabled.is_(False), endpoints.c.disabled_reason.is_not(None))
    query = _of(query, endpoints, owner).order_by(endpoints.c.disabled_at_ms.desc()).limit(SHOWN)
    return as_models(Endpoint, await connection.execute(query))


async def failing(connection: AsyncConnection, owner: str | None) -> Sequence[Any]:
    """Enabled endpoints that failed several times in a row: id, failures, failing_since_ms."""
    query = select(endpoints.c.id, receivers.c.failures, receivers.c.failing_since_ms)
    query = query.join(receivers, receivers.c.id == endpoints.c.id)
    query = query.where(endpoints.c.enabled.is_(True), receivers.c.failures >= TRIPPED_AFTER)
    query = _of(query, endpoints, owner).order_by(receivers.c.failing_since_ms).limit(SHOWN)
    return (await connection.execute(query)).all()


async def _newest(connection: AsyncConnection, query: Select[Any], at: Any) -> tuple[int, Any]:
    counting = query.with_only_columns(func.count(), maintain_column_froms=True)
    number = int((await connection.execute(counting)).scalar_one())
    return number, await connection.execute(query.order_by(at.desc()).limit(SHOWN))


def _of(query: Select[Any], table: Any, owner: str | None) -> Select[Any]:
    return query if owner is None else query.where(table.c.owner == owner)
