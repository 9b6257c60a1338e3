"""The inbox: written by the webhook route and by the reconciler, claimed by the collect stage."""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Insert, bindparam, case, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.claims import DONE, of_claim, same_claim
from service.store.rows import as_model, as_models, insertion_for
from service.tables import Webhook, table_of

webhooks = table_of(Webhook)


class Hint(NamedTuple):
    """What somebody says about a transcription at Soniox; `job` is empty for one that the relay did not create."""

    id: str
    job: str
    soniox_id: str
    status: str
    source: str  # webhook, reconciler
    at_ms: int

    @property
    def key(self) -> tuple[str, str, str]:
        return self.job, self.soniox_id, self.status


async def record(connection: AsyncConnection, hints: list[Hint]) -> Sequence[None]:
    """Insert each, or count it as seen again. What the reconciler finds becomes due again even if handled."""
    times = Counter(hint.key for hint in hints)
    newest = {hint.key: hint for hint in hints}  # one of each: a statement may not meet the same conflict twice
    rows = [_row(hint, times[key]) for key, hint in newest.items()]
    await connection.execute(_recording(connection.dialect.name), rows)
    return [None] * len(hints)


async def handle(connection: AsyncConnection, row: Webhook, outcome: str, now_ms: int) -> bool:
    """Close the row with what came of it; False when the claim was lost."""
    result = await connection.execute(_HANDLE, _handled(row, outcome, now_ms))
    return result.rowcount == 1


async def handle_all(connection: AsyncConnection, rows: Sequence[tuple[Webhook, str, int]]) -> None:
    """Close rows, each with what came of it and when; one whose claim was lost stays as it is."""
    if rows:
        await connection.execute(_HANDLE, [_handled(*handled) for handled in rows])


_HANDLE = (
    update(webhooks)
    .where(same_claim(Webhook))
    .values(handled_at_ms=bindparam("to_handled_at_ms"), outcome=bindparam("to_outcome"), **DONE)
)


def _handled(row: Webhook, outcome: str, now_ms: int) -> dict[str, Any]:
    return {**of_claim(row), "to_handled_at_ms": now_ms, "to_outcome": outcome}


async def unhandled(connection: AsyncConnection, job: str) -> Webhook | None:
    """What was said last about one transcription and is not handled yet."""
    theirs = select(webhooks).where(webhooks.c.job == job, webhooks.c.due_at_ms.is_not(None))
    return as_model(Webhook, await connection.execute(theirs.order_by(webhooks.c.last_seen_at_ms.desc()).limit(1)))


async def page_of(connection: AsyncConnection, before_id: str | None, limit: int) -> list[Webhook]:
    """The newest first, and one more row if there is a next page: ids are in the order in which rows came."""
    older = [] if before_id is None else [webhooks.c.id < before_id]
    query = select(webhooks).where(*older).order_by(webhooks.c.id.desc()).limit(limit + 1)
    return as_models(Webhook, await connection.execute(query))


async def waiting(connection: AsyncConnection) -> int:
    """How many are not handled yet."""
    query = select(func.count()).where(webhooks.c.due_at_ms.is_not(None))
    return int((await connection.execute(query)).scalar_one())


async def forget(connection: AsyncConnection, job: str) -> None:
    """Delete what was said about one transcription."""
    await connection.execute(delete(webhooks).where(webhooks.c.job == job))


def _row(hint: Hint, seen: int) -> dict[str, Any]:
    return {
        "id": hint.id,
        "job": hint.job,
        "soniox_id": hint.soniox_id,
        "status": hint.status,
        "source": hint.source,
        "received_at_ms": hint.at_ms,
        "last_seen_at_ms": hint.at_ms,
        "due_at_ms": hint.at_ms,
        "seen": seen,
        "fence": 0,
        "tries": 0,
    }


@cache  # building it costs as much as ten rows
def _recording(dialect: str) -> Insert:
    insertion = insertion_for(dialect, webhooks)
    again = insertion.excluded.source == "reconciler"
    values: dict[str, Any] = {
        "seen": webhooks.c.seen + insertion.excluded.seen,
        "last_seen_at_ms": insertion.excluded.last_seen_at_ms,
        "due_at_ms": case((again, insertion.excluded.due_at_ms), else_=webhooks.c.due_at_ms),
        "handled_at_ms": case((again, None), else_=webhooks.c.handled_at_ms),
    }
    return insertion.on_conflict_do_update(index_elements=["job", "soniox_id", "status"], set_=values)
