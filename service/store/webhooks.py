"""The inbox: written by the webhook route and by the reconciler, claimed by the collect stage."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import case, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.claims import DONE, still_held
from service.store.rows import as_model, as_models, upsert, values_of
from service.tables import Webhook, table_of

webhooks = table_of(Webhook)


async def record(connection: AsyncConnection, rows: list[Webhook]) -> Sequence[None]:
    """Insert each, or count it as seen again. What the reconciler finds becomes due again even if handled."""
    insertion = upsert(connection, webhooks)
    again = insertion.excluded.source == "reconciler"
    values: dict[str, Any] = {
        "seen": webhooks.c.seen + insertion.excluded.seen,
        "last_seen_at_ms": insertion.excluded.last_seen_at_ms,
        "due_at_ms": case((again, insertion.excluded.due_at_ms), else_=webhooks.c.due_at_ms),
        "handled_at_ms": case((again, None), else_=webhooks.c.handled_at_ms),
    }
    statement = insertion.on_conflict_do_update(index_elements=["job", "soniox_id", "status"], set_=values)
    await connection.execute(statement, [values_of(row) for row in _newest_of_each(rows)])
    return [None] * len(rows)


async def handle(connection: AsyncConnection, row: Webhook, outcome: str, now_ms: int) -> bool:
    """Close the row with what came of it; False when the claim was lost."""
    values = {**DONE, "handled_at_ms": now_ms, "outcome": outcome}
    result = await connection.execute(update(webhooks).where(still_held(Webhook, row)).values(**values))
    return result.rowcount == 1


async def newest(connection: AsyncConnection, limit: int) -> list[Webhook]:
    """The latest rows of the inbox."""
    query = select(webhooks).order_by(webhooks.c.received_at_ms.desc()).limit(limit)
    return as_models(Webhook, await connection.execute(query))


async def unhandled(connection: AsyncConnection, job: str) -> Webhook | None:
    """What was said last about one transcription and is not handled yet."""
    theirs = select(webhooks).where(webhooks.c.job == job, webhooks.c.due_at_ms.is_not(None))
    return as_model(Webhook, await connection.execute(theirs.order_by(webhooks.c.last_seen_at_ms.desc()).limit(1)))


async def waiting(connection: AsyncConnection) -> int:
    """How many are not handled yet."""
    query = select(func.count()).where(webhooks.c.due_at_ms.is_not(None))
    return int((await connection.execute(query)).scalar_one())


async def forget(connection: AsyncConnection, job: str) -> None:
    """Delete what was said about one transcription."""
    await connection.execute(delete(webhooks).where(webhooks.c.job == job))


def _newest_of_each(rows: list[Webhook]) -> list[Webhook]:
    """One row for each key: a statement may not meet the same conflict twice."""
    merged: dict[tuple[str, str, str], Webhook] = {}
    for row in rows:
        key = (row.job, row.soniox_id, row.status)
        if key in merged:
            row.seen += merged[key].seen
        merged[key] = row
    return list(merged.values())
