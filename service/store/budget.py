"""The rate budget at Soniox: how many requests each second of the last minute saw, for all processes together."""

from sqlalchemy import delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.rows import upsert
from service.tables import SonioxCalls, table_of

calls = table_of(SonioxCalls)

WINDOW_S = 60
LOCK = 7_203_001  # an arbitrary number that names this lock in PostgreSQL


async def lock(connection: AsyncConnection) -> None:
    """Let one process at a time count and spend; SQLite's single writer does so anyway."""
    if connection.dialect.name == "postgresql":
        await connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))


async def used(connection: AsyncConnection, now_s: int) -> dict[str, int]:
    """Requests of the last 60 s by share."""
    recent = calls.c.second > now_s - WINDOW_S - 1
    query = select(calls.c.share, func.sum(calls.c.calls)).where(recent).group_by(calls.c.share)
    return {share: int(total) for share, total in (await connection.execute(query)).all()}


async def spend(connection: AsyncConnection, share: str, number: int, now_s: int) -> None:
    """Note `number` requests in this second, and forget those that no longer count."""
    insertion = upsert(connection, calls).values(second=now_s, share=share, calls=number)
    more = {"calls": calls.c.calls + insertion.excluded.calls}
    await connection.execute(insertion.on_conflict_do_update(index_elements=["second", "share"], set_=more))
    await connection.execute(delete(calls).where(calls.c.second < now_s - 2 * WINDOW_S))
