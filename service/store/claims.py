"""Claims: leases with a fence, alike for every table that has the columns of `Due`.

A claim takes due rows nobody holds, sets the lease and raises the fence. While it works, a worker renews its
leases; if it dies they end by themselves. Finishing changes a row only where the fence is still the claimed
one, so that a worker that slept through its lease changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, Table, and_, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.rows import as_models
from service.tables import Due, table_of

D = TypeVar("D", bound=Due)


@dataclass(frozen=True)
class Claimant:
    """Who claims, when, and for how long; what was due before `since_ms` is passed over."""

    worker: str
    now_ms: int
    lease_ms: int
    since_ms: int = 0


async def claim(
    connection: AsyncConnection,
    model: type[D],
    claimant: Claimant,
    *,
    limit: int,
    where: ColumnElement[bool] | None = None,
    also: dict[str, Any] | None = None,
) -> list[D]:
    """Take up to `limit` due rows, the longest due first; `also` sets further columns in the same statement."""
    table = table_of(model)
    due = and_(table.c.due_at_ms <= claimant.now_ms, table.c.due_at_ms >= claimant.since_ms)
    wanted = due if where is None else and_(due, where)
    oldest = _free(table, claimant).where(wanted).order_by(table.c.due_at_ms, table.c.id).limit(limit)
    return await _take(connection, model, claimant, oldest, also)


async def claim_those(
    connection: AsyncConnection, model: type[D], claimant: Claimant, ids: Sequence[str]
) -> list[D]:
    """Take these rows, as far as they are still due and free."""
    table = table_of(model)
    # The sum keeps the planner from the index on due_at_ms, which would lead through the whole backlog.
    due = table.c.due_at_ms + 0 <= claimant.now_ms
    return await _take(connection, model, claimant, _free(table, claimant).where(table.c.id.in_(ids), due), None)


def _free(table: Table, claimant: Claimant) -> Select[Any]:
    return select(table.c.id).where(
        or_(table.c.lease_until_ms.is_(None), table.c.lease_until_ms <= claimant.now_ms)
    )


async def _take(
    connection: AsyncConnection,
    model: type[D],
    claimant: Claimant,
    chosen: Select[Any],
    also: dict[str, Any] | None,
) -> list[D]:
    table = table_of(model)
    candidates = chosen.with_for_update(skip_locked=True).cte("candidates")
    lease = {"lease_until_ms": claimant.now_ms + claimant.lease_ms, "leased_by": claimant.worker}
    statement = (
        update(table)
        .where(table.c.id.in_(select(candidates.c.id)))
        .values(fence=table.c.fence + 1, **lease, **(also or {}))
        .returning(*table.c)
    )
    claimed = as_models(model, await connection.execute(statement))
    return sorted(claimed, key=lambda row: (row.due_at_ms or 0, row.id))  # type: ignore[attr-defined]  # all have id


def still_held(model: type[Due], row: Any) -> ColumnElement[bool]:
    """True for the row only while the claim that read it is the newest and did not give it back."""
    table = table_of(model)
    return and_(table.c.id == row.id, table.c.fence == row.fence, table.c.lease_until_ms.is_not(None))


FREE: dict[str, Any] = {"lease_until_ms": None, "leased_by": None}
DONE: dict[str, Any] = {**FREE, "due_at_ms": None, "tries": 0, "last_error": None}


async def finish(connection: AsyncConnection, model: type[Due], row: Any, **values: Any) -> bool:
    """Nothing is due any more and the lease is free; False when the claim was lost meanwhile."""
    table = table_of(model)
    result = await connection.execute(update(table).where(still_held(model, row)).values(**{**DONE, **values}))
    return result.rowcount == 1


async def postpone(
    connection: AsyncConnection,
    model: type[Due],
    row: Any,
    *,
    due_at_ms: int,
    error: str,
    spend_try: bool = True,
    where: ColumnElement[bool] | None = None,
    **values: Any,
) -> bool:
    """Give the row back, due again at `due_at_ms`; False when the claim was lost meanwhile, or not `where`."""
    table = table_of(model)
    tries = row.tries + 1 if spend_try else row.tries
    values = {**FREE, "due_at_ms": due_at_ms, "tries": tries, "last_error": error[:500], **values}
    mine = still_held(model, row) if where is None else and_(still_held(model, row), where)
    result = await connection.execute(update(table).where(mine).values(**values))
    return result.rowcount == 1


async def renew(
    connection: AsyncConnection, model: type[Due], held: Sequence[tuple[str, int]], until_ms: int
) -> list[str]:
    """Prolong the leases of (id, fence) pairs; gives back the ids of those that were still ours."""
    table = table_of(model)
    same = tuple_(table.c.id, table.c.fence).in_(held)
    # SQLite looks pairs up row by row through the whole table, unless it is told the ids as well
    ours = and_(table.c.id.in_([row_id for row_id, _ in held]), same, table.c.lease_until_ms.is_not(None))
    renewed = update(table).where(ours).values(lease_until_ms=until_ms).returning(table.c.id)
    return [row.id for row in (await connection.execute(renewed)).all()]


async def release(connection: AsyncConnection, model: type[Due], worker: str | None, now_ms: int) -> None:
    """End the leases of `worker`, or all: what a stopping worker, or the only process at its start, does.

    The lease ends now rather than vanishing, so that the next claim sees that somebody stopped half-way.
    """
    table = table_of(model)
    held = table.c.lease_until_ms > now_ms
    whose = and_(held, table.c.leased_by == worker) if worker else held
    await connection.execute(
        update(table).where(table.c.due_at_ms.is_not(None), whose).values(lease_until_ms=now_ms)
    )


async def next_due_ms(connection: AsyncConnection, model: type[Due], now_ms: int) -> int | None:
    """When the first row that waits for its time becomes due."""
    table = table_of(model)
    waiting = select(table.c.due_at_ms).where(table.c.due_at_ms > now_ms).order_by(table.c.due_at_ms).limit(1)
    found: int | None = (await connection.execute(waiting)).scalar_one_or_none()
    return found
