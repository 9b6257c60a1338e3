"""The inbox: written by the webhook route and by the reconciler, claimed by the collect stage."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.db import STATEMENTS, by_itself
from service.store.changes import Change, run
from service.store.claims import DONE_SQL
from service.store.rows import as_model, as_models
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
    def key(self) -> tuple[str, ...]:
        """`job`, `soniox_id` and `status`, of which there is one row."""
        return self[1:4]


@by_itself(STATEMENTS, on_sqlite=True)
async def record(connection: AsyncConnection, hints: list[Hint]) -> Sequence[None]:
    """Insert each, or count it as seen again. What the reconciler finds becomes due again even if handled."""
    times = Counter(hint.key for hint in hints)
    newest = {hint.key: hint for hint in hints}  # one of each: a statement may not meet the same conflict twice
    await run(connection, Change("hints", HINTS, [(*hint, times[key]) for key, hint in newest.items()], RECORD))
    return [None] * len(hints)


RECORD = """
    INSERT INTO webhooks (id, job, soniox_id, status, source, received_at_ms, last_seen_at_ms, due_at_ms,
                          seen, fence, tries)
    SELECT id, job, soniox_id, status, source, at_ms, at_ms, at_ms, seen, 0, 0 FROM hints WHERE true
    ON CONFLICT (job, soniox_id, status) DO UPDATE SET
        seen = webhooks.seen + excluded.seen,
        last_seen_at_ms = excluded.last_seen_at_ms,
        due_at_ms = CASE excluded.source WHEN 'reconciler' THEN excluded.due_at_ms ELSE webhooks.due_at_ms END,
        handled_at_ms = CASE excluded.source WHEN 'reconciler' THEN NULL ELSE webhooks.handled_at_ms END
"""
HINTS = (*((name, "bigint" if name == "at_ms" else "text") for name in Hint._fields), ("seen", "bigint"))


async def handle(connection: AsyncConnection, row: Webhook, outcome: str, now_ms: int) -> bool:
    """Close the row with what came of it; False when the claim was lost."""
    (change,) = handling([(row, outcome, now_ms)])
    closed = await run(connection, change._replace(sql=f"{HANDLE} RETURNING webhooks.id"))
    return len(closed.all()) == 1


def handling(rows: Sequence[tuple[Webhook, str, int]]) -> list[Change]:
    """Rows are closed, each with what came of it and when; one whose claim was lost stays."""
    handled = [(row.id, row.fence, outcome, now_ms) for row, outcome, now_ms in rows]
    return [Change("handled", HANDLED, handled, HANDLE)] if handled else []


HANDLE = f"""
    UPDATE webhooks SET handled_at_ms = handled.at_ms, outcome = handled.outcome, {DONE_SQL}
      FROM handled
     WHERE webhooks.id = handled.id AND webhooks.fence = handled.fence AND webhooks.lease_until_ms IS NOT NULL
"""  # noqa: S608  # names of ours
HANDLED = (("id", "text"), ("fence", "bigint"), ("outcome", "text"), ("at_ms", "bigint"))


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
