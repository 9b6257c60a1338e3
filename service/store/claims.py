"""Claims: leases with a fence, alike for every table that has the columns of `Due`.

A claim takes due rows nobody holds, sets the lease and raises the fence. While it works, a worker renews its
leases; if it dies they end by themselves. Finishing changes a row only where the fence is still the claimed
one, so that a worker that slept through its lease changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    CursorResult,
    Executable,
    Integer,
    Select,
    Table,
    Update,
    and_,
    bindparam,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.rows import as_models
from service.tables import Due, table_of

D = TypeVar("D", bound=Due)


@dataclass(frozen=True)
class Claimant:
    """Who claims, when, and for how long."""

    worker: str
    now_ms: int
    lease_ms: int


def taking(
    model: type[Due], *, where: ColumnElement[bool] | None = None, also: Mapping[str, Any] | None = None
) -> Update:
    """The statement of a claim of due rows; built once, since building it takes longer than running it.

    `where` and `also` (further columns to set) may have parameters of their own, which `claim` is given.
    """
    table = table_of(model)
    due = table.c.due_at_ms <= bindparam("claim_now_ms")
    wanted = due if where is None else and_(due, where)
    oldest = _free(table).where(wanted).order_by(table.c.due_at_ms, table.c.id)
    return _take(table, oldest.limit(bindparam("claim_limit", type_=Integer)), also or {})


async def claim(
    connection: AsyncConnection,
    model: type[D],
    claimant: Claimant,
    *,
    limit: int,
    statement: Update | None = None,
    **parameters: Any,
) -> list[D]:
    """Take up to `limit` due rows, the longest due first; `statement` is a special one that `taking` made."""
    chosen = taking_any(model) if statement is None else statement
    result = await take_oldest(connection, claimant, chosen, limit, **parameters)
    return _in_order(as_models(model, result))


async def claim_those(
    connection: AsyncConnection, model: type[D], claimant: Claimant, ids: Sequence[str]
) -> list[D]:
    """Take these rows, as far as they are still due and free."""
    return _in_order(as_models(model, await take_those(connection, claimant, taking_those(model), ids)))


async def take_oldest(
    connection: AsyncConnection, claimant: Claimant, statement: Executable, limit: int, **parameters: Any
) -> CursorResult[Any]:
    """Run a statement that has one of `taking` in it."""
    return await connection.execute(statement, {**_lease(claimant), "claim_limit": limit, **parameters})


async def take_those(
    connection: AsyncConnection, claimant: Claimant, statement: Executable, ids: Sequence[str]
) -> CursorResult[Any]:
    """Run a statement that has `taking_those` in it."""
    return await connection.execute(statement, {**_lease(claimant), "claim_ids": list(ids)})


@cache
def taking_any(model: type[Due]) -> Update:
    """The statement of a claim of any due rows."""
    return taking(model)


@cache
def taking_those(model: type[Due]) -> Update:
    """The statement of a claim of some rows, as far as they are due and free."""
    table = table_of(model)
    # The sum keeps the planner from the index on due_at_ms, which would lead through the whole backlog.
    due = table.c.due_at_ms + 0 <= bindparam("claim_now_ms")
    those = table.c.id.in_(bindparam("claim_ids", expanding=True))
    return _take(table, _free(table).where(those, due), {})


def _free(table: Table) -> Select[Any]:
    nobodys = or_(table.c.lease_until_ms.is_(None), table.c.lease_until_ms <= bindparam("claim_now_ms"))
    return select(table.c.id).where(nobodys)


def _take(table: Table, chosen: Select[Any], also: Mapping[str, Any]) -> Update:
    candidates = chosen.with_for_update(skip_locked=True).cte("candidates")
    lease: dict[str, Any] = {
        "lease_until_ms": bindparam("claim_until_ms"),
        "leased_by": bindparam("claim_worker"),
    }
    taken = update(table).where(table.c.id.in_(select(candidates.c.id)))
    return taken.values(fence=table.c.fence + 1, **lease, **also).returning(*table.c)


def _lease(claimant: Claimant) -> dict[str, Any]:
    now_ms = claimant.now_ms
    return {
        "claim_now_ms": now_ms,
        "claim_until_ms": now_ms + claimant.lease_ms,
        "claim_worker": claimant.worker,
    }


def _in_order(rows: list[D]) -> list[D]:
    return sorted(rows, key=lambda row: (row.due_at_ms or 0, row.id))  # type: ignore[attr-defined]  # all have id


def still_held(model: type[Due], row: Any) -> ColumnElement[bool]:
    """True for the row only while the claim that read it is the newest and did not give it back."""
    table = table_of(model)
    return and_(table.c.id == row.id, table.c.fence == row.fence, table.c.lease_until_ms.is_not(None))


FREE: dict[str, Any] = {"lease_until_ms": None, "leased_by": None}
DONE: dict[str, Any] = {**FREE, "due_at_ms": None, "tries": 0, "last_error": None}
FREE_SQL = "lease_until_ms = NULL, leased_by = NULL"
DONE_SQL = f"{FREE_SQL}, due_at_ms = NULL, tries = 0, last_error = NULL"


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
    # What is just being finished is not waited for: two that want many rows could wait for each other.
    free = select(table.c.id).where(ours).with_for_update(skip_locked=True)
    renewed = update(table).where(table.c.id.in_(free)).values(lease_until_ms=until_ms).returning(table.c.id)
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
    found: int | None = (await connection.execute(_next_due(model), {"now_ms": now_ms})).scalar_one_or_none()
    return found


@cache
def _next_due(model: type[Due]) -> Select[Any]:
    due_at_ms = table_of(model).c.due_at_ms
    return select(due_at_ms).where(due_at_ms > bindparam("now_ms")).order_by(due_at_ms).limit(1)


async def is_any_due(connection: AsyncConnection, model: type[Due], now_ms: int) -> bool:
    """True while a row is due, whether somebody works on it or not."""
    return (await connection.execute(_any_due(model), {"now_ms": now_ms})).first() is not None


@cache
def _any_due(model: type[Due]) -> Select[Any]:
    table = table_of(model)
    return select(table.c.id).where(table.c.due_at_ms <= bindparam("now_ms")).order_by(table.c.due_at_ms).limit(1)
