"""Signs of life."""

from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.rows import as_models, upsert
from service.tables import Heartbeat, table_of

heartbeats = table_of(Heartbeat)

WORKER_SILENT_MS = 30_000  # a worker gives a sign of life every 5 s; after so long it counts as dead


async def beat(connection: AsyncConnection, name: str, at_ms: int, detail: dict[str, Any]) -> None:
    """Note that `name` is alive, and what it has to say."""
    insertion = upsert(connection, heartbeats).values(name=name, at_ms=at_ms, detail=detail)
    values = {"at_ms": insertion.excluded.at_ms, "detail": insertion.excluded.detail}
    await connection.execute(insertion.on_conflict_do_update(index_elements=["name"], set_=values))


async def all_of(connection: AsyncConnection) -> dict[str, Heartbeat]:
    """All of them by name."""
    rows = as_models(Heartbeat, await connection.execute(select(heartbeats)))
    return {row.name: row for row in rows}


async def forget_before(connection: AsyncConnection, at_ms: int) -> None:
    """Delete those of processes that are long gone."""
    await connection.execute(delete(heartbeats).where(heartbeats.c.at_ms < at_ms))
