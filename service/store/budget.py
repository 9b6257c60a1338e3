"""The rate budget at Soniox: how many requests each second of the last minute saw, for all processes together."""

from collections import Counter
from functools import cache
from typing import NamedTuple

from sqlalchemy import Insert, TextClause, bindparam, delete, func, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from service.db import STATEMENTS, by_itself
from service.store.rows import insertion_for
from service.tables import SonioxCalls, table_of

calls = table_of(SonioxCalls)

WINDOW_S = 60
FORGET_EVERY_S = 10
PART = 50  # of a minute's budget, the most that is spent at once without the lock
LOCK = 7_203_001  # an arbitrary number that names this lock in PostgreSQL


async def lock(connection: AsyncConnection) -> None:
    """Let one process at a time count and spend; SQLite's single writer does so anyway."""
    if connection.dialect.name == "postgresql":
        await connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))


class Spending(NamedTuple):
    """So many requests of a share, noted in this second, out of so many in a minute."""

    share: str
    number: int
    second: int
    limit: int


@by_itself(STATEMENTS, on_sqlite=True)
async def spend_of_plenty(connection: AsyncConnection, spendings: list[Spending]) -> list[bool]:
    """Spend without the lock while half of the window is free, and little; False where nothing was spent.

    What others spend in the very moment is not seen. It is so little (PART) that dozens of them would have to.
    """
    numbers = Counter[Spending]()
    for each in spendings:
        numbers[each._replace(number=0)] += each.number
    given = {alike: await _is_spent(connection, alike._replace(number=all_)) for alike, all_ in numbers.items()}
    return [given[each._replace(number=0)] for each in spendings]


async def _is_spent(connection: AsyncConnection, spending: Spending) -> bool:
    little, half = spending.limit // PART, spending.limit // 2
    values = {**spending._asdict(), "since_s": spending.second - WINDOW_S - 1, "little": little, "half": half}
    spent = (await connection.execute(_spending_of_plenty(connection.dialect.name), values)).first()
    await _forget(connection, spending.second)
    return spent is not None


async def used(connection: AsyncConnection, now_s: int) -> dict[str, int]:
    """Requests of the last 60 s by share."""
    found = await connection.execute(_USED, {"since_s": now_s - WINDOW_S - 1})
    return {share: int(total) for share, total in found.all()}


async def spend(connection: AsyncConnection, share: str, number: int, now_s: int) -> None:
    """Note `number` requests in this second."""
    spent = {"second": now_s, "share": share, "calls": number}
    await connection.execute(_spending(connection.dialect.name), spent)
    await _forget(connection, now_s)


async def _forget(connection: AsyncConnection, now_s: int) -> None:
    """Now and then forget the requests that no longer count."""
    if now_s % FORGET_EVERY_S == 0:
        await connection.execute(_FORGET, {"before_s": now_s - 2 * WINDOW_S})


_USED = (
    select(calls.c.share, func.sum(calls.c.calls))
    .where(calls.c.second > bindparam("since_s"))
    .group_by(calls.c.share)
)
_OLD = select(calls.c.second, calls.c.share).where(calls.c.second < bindparam("before_s"))
# What another process just forgets is not waited for.
_FORGET = delete(calls).where(tuple_(calls.c.second, calls.c.share).in_(_OLD.with_for_update(skip_locked=True)))


_OF_PLENTY = """
    INSERT INTO soniox_calls (second, share, calls)
    SELECT CAST(:second AS bigint), CAST(:share AS text), CAST(:number AS integer)
     WHERE :number <= :little {free}
       AND (SELECT COALESCE(SUM(calls), 0) FROM soniox_calls WHERE second > :since_s) + :number <= :half
    ON CONFLICT (second, share) DO UPDATE SET calls = soniox_calls.calls + excluded.calls
    RETURNING second
"""


@cache
def _spending_of_plenty(dialect: str) -> TextClause:
    """Not while somebody counts under the lock, since what he leaves is not known yet."""
    free = f"AND pg_try_advisory_xact_lock_shared({LOCK})" if dialect == "postgresql" else ""
    return text(_OF_PLENTY.format(free=free))


@cache
def _spending(dialect: str) -> Insert:
    insertion = insertion_for(dialect, calls)
    more = {"calls": calls.c.calls + insertion.excluded.calls}
    return insertion.on_conflict_do_update(index_elements=["second", "share"], set_=more)
