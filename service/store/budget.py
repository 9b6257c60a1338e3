"""The rate budget at Soniox: how many requests each second of the last minute saw, for all processes together."""

from functools import cache

from sqlalchemy import Insert, bindparam, delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.rows import insertion_for
from service.tables import SonioxCalls, table_of

calls = table_of(SonioxCalls)

WINDOW_S = 60
FORGET_EVERY_S = 10
LOCK = 7_203_001  # an arbitrary number that names this lock in PostgreSQL


async def lock(connection: AsyncConnection) -> None:
    """Let one process at a time count and spend; SQLite's single writer does so anyway."""
    if connection.dialect.name == "postgresql":
        await connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))


async def used(connection: AsyncConnection, now_s: int) -> dict[str, int]:
    """Requests of the last 60 s by share."""
    found = await connection.execute(_USED, {"since_s": now_s - WINDOW_S - 1})
    return {share: int(total) for share, total in found.all()}


async def spend(connection: AsyncConnection, share: str, number: int, now_s: int) -> None:
    """Note `number` requests in this second, and now and then forget those that no longer count."""
    spent = {"second": now_s, "share": share, "calls": number}
    await connection.execute(_spending(connection.dialect.name), spent)
    if now_s % FORGET_EVERY_S == 0:
        await connection.execute(_FORGET, {"before_s": now_s - 2 * WINDOW_S})


_USED = (
    select(calls.c.share, func.sum(calls.c.calls))
    .where(calls.c.second > bindparam("since_s"))
    .group_by(calls.c.share)
)
_FORGET = delete(calls).where(calls.c.second < bindparam("before_s"))


@cache
def _spending(dialect: str) -> Insert:
    insertion = insertion_for(dialect, calls)
    more = {"calls": calls.c.calls + insertion.excluded.calls}
    return insertion.on_conflict_do_update(index_elements=["second", "share"], set_=more)
