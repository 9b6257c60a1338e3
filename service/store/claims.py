"""Claims: leases with a fence, the same for every table with the columns of `QueueColumns`.

A claim takes due rows without a lease, sets the lease and raises the fence. A worker renews its leases while it
works; if the worker dies, they expire. Finishing changes a row only if its fence is still the claimed one, so a
worker whose lease expired changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Integer, and_, bindparam, or_, tuple_, update
from sqlalchemy.sql.dml import ReturningUpdate
from sqlmodel import Session, select
from sqlmodel.sql.expression import SelectOfScalar

from service.store.statements import changed
from service.tables import QueueColumns, table_of

D = TypeVar("D", bound=QueueColumns)


@dataclass(frozen=True)
class Claimant:
    """The worker that claims, the time of the claim, and the length of the lease."""

    worker: str
    now_ms: int
    lease_ms: int


def claim(
    session: Session,
    model: type[D],
    claimant: Claimant,
    *,
    limit: int,
    where: ColumnElement[bool] | None = None,
    **also: Any,
) -> list[D]:
    """Claim up to `limit` due rows, the longest due first. `where` narrows them; `also` sets more columns."""
    statement = _taking_any(model) if where is None and not also else _taking(model, where, also)
    return _take(session, statement, claimant, claim_limit=limit)


def claim_those(session: Session, model: type[D], claimant: Claimant, ids: Sequence[str]) -> list[D]:
    """Claim those of the rows `ids` that are still due and free."""
    return _take(session, _taking_those(model), claimant, claim_ids=list(ids))


@cache
def _taking_any(model: type[D]) -> ReturningUpdate[D]:
    """Cached, like `_taking_those`: building the statement takes several times as long as running it."""
    return _taking(model, None, {})


@cache
def _taking_those(model: type[D]) -> ReturningUpdate[D]:
    table = table_of(model)
    # The sum keeps the planner off the index on due_at_ms, which would scan the whole backlog.
    due = table.c.due_at_ms + 0 <= bindparam("claim_now_ms")
    those = table.c.id.in_(bindparam("claim_ids", expanding=True))
    return _leasing(model, _free(model).where(those, due), {})


def _taking(model: type[D], where: ColumnElement[bool] | None, also: dict[str, Any]) -> ReturningUpdate[D]:
    table = table_of(model)
    due = table.c.due_at_ms <= bindparam("claim_now_ms")
    wanted = due if where is None else and_(due, where)
    oldest = _free(model).where(wanted).order_by(table.c.due_at_ms, table.c.id)
    return _leasing(model, oldest.limit(bindparam("claim_limit", type_=Integer)), also)


def _free(model: type[QueueColumns]) -> SelectOfScalar[str]:
    table = table_of(model)
    unleased = or_(table.c.lease_until_ms.is_(None), table.c.lease_until_ms <= bindparam("claim_now_ms"))
    return select(table.c.id).where(unleased)


def _leasing(model: type[D], chosen: SelectOfScalar[str], also: dict[str, Any]) -> ReturningUpdate[D]:
    table = table_of(model)
    candidates = chosen.with_for_update(skip_locked=True).cte("candidates")
    taken = update(model).where(table.c.id.in_(select(candidates.c.id)))
    lease: dict[str, Any] = {"lease_until_ms": bindparam("claim_until_ms"), "leased_by": bindparam("claim_worker")}
    return taken.values(fence=table.c.fence + 1, **lease, **also).returning(model)


def _take(session: Session, statement: ReturningUpdate[D], claimant: Claimant, **parameters: Any) -> list[D]:
    lease = {
        "claim_now_ms": claimant.now_ms,
        "claim_until_ms": claimant.now_ms + claimant.lease_ms,
        "claim_worker": claimant.worker,
    }
    rows = changed(session, statement, {**lease, **parameters})
    return sorted(rows, key=lambda row: (row.due_at_ms or 0, row.id))  # type: ignore[attr-defined]  # has id


def still_held(model: type[QueueColumns], row: Any) -> ColumnElement[bool]:
    """Match the row only while the claim that read it is the newest one and has not been given back."""
    table = table_of(model)
    return and_(table.c.id == row.id, table.c.fence == row.fence, table.c.lease_until_ms.is_not(None))


FREE: dict[str, Any] = {"lease_until_ms": None, "leased_by": None}
DONE: dict[str, Any] = {**FREE, "due_at_ms": None, "tries": 0, "last_error": None}


def finish(session: Session, model: type[QueueColumns], row: Any, **values: Any) -> bool:
    """Free the lease and leave nothing due. Return False when the claim was lost."""
    held = update(table_of(model)).where(still_held(model, row))
    return session.exec(held.values(**{**DONE, **values})).rowcount == 1


def postpone(
    session: Session,
    model: type[QueueColumns],
    row: Any,
    *,
    due_at_ms: int,
    error: str,
    spend_try: bool = True,
    where: ColumnElement[bool] | None = None,
    **values: Any,
) -> bool:
    """Give the row back, due again at `due_at_ms`. Return False when the claim was lost or `where` fails."""
    tries = row.tries + 1 if spend_try else row.tries
    values = {**FREE, "due_at_ms": due_at_ms, "tries": tries, "last_error": error[:500], **values}
    mine = still_held(model, row) if where is None else and_(still_held(model, row), where)
    return session.exec(update(table_of(model)).where(mine).values(**values)).rowcount == 1


def renew(
    session: Session, model: type[QueueColumns], held: Sequence[tuple[str, int]], until_ms: int
) -> list[str]:
    """Extend the leases of (id, fence) pairs. Return the ids of those still held."""
    table = table_of(model)
    same = tuple_(table.c.id, table.c.fence).in_(held)
    # Without the ids SQLite scans the whole table for the pairs.
    ours = and_(table.c.id.in_([row_id for row_id, _ in held]), same, table.c.lease_until_ms.is_not(None))
    # Rows that another transaction is finishing are skipped: waiting for several rows could deadlock.
    free = select(table.c.id).where(ours).with_for_update(skip_locked=True)
    renewed = update(table).where(table.c.id.in_(free)).values(lease_until_ms=until_ms).returning(table.c.id)
    return list(session.scalars(renewed))


def release(session: Session, model: type[QueueColumns], worker: str | None, now_ms: int) -> None:
    """End the leases of `worker`, or all for None, when a worker stops or the only process starts.

    The lease expires now instead of being cleared, so that the next claim sees that work stopped half-way.
    """
    table = table_of(model)
    held = table.c.lease_until_ms > now_ms
    whose = and_(held, table.c.leased_by == worker) if worker else held
    session.exec(update(table).where(table.c.due_at_ms.is_not(None), whose).values(lease_until_ms=now_ms))


def next_due_ms(session: Session, model: type[QueueColumns], now_ms: int) -> int | None:
    """Return when the next row becomes due, of those that are not due yet."""
    return session.exec(_next_due(model), params={"now_ms": now_ms}).one_or_none()


@cache
def _next_due(model: type[QueueColumns]) -> SelectOfScalar[int]:
    due_at_ms = table_of(model).c.due_at_ms
    return select(due_at_ms).where(due_at_ms > bindparam("now_ms")).order_by(due_at_ms).limit(1)


def is_any_due(session: Session, model: type[QueueColumns], now_ms: int) -> bool:
    """Return True when a row is due, whether it is claimed or not."""
    return session.exec(_any_due(model), params={"now_ms": now_ms}).first() is not None


@cache
def _any_due(model: type[QueueColumns]) -> SelectOfScalar[str]:
    table = table_of(model)
    return select(table.c.id).where(table.c.due_at_ms <= bindparam("now_ms")).order_by(table.c.due_at_ms).limit(1)
