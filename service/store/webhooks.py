"""The inbox: written by the webhook route and by the reconciler, claimed by the collect stage."""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import TextClause, bindparam, delete, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.db import single
from service.store.claims import DONE, of_claim, same_claim
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


@single
async def record(connection: AsyncConnection, hints: list[Hint]) -> Sequence[None]:
    """Insert each, or count it as seen again. What the reconciler finds becomes due again even if handled."""
    times = Counter(hint.key for hint in hints)
    newest = {hint.key: hint for hint in hints}  # one of each: a statement may not meet the same conflict twice
    rows = [(*hint, times[key]) for key, hint in newest.items()]
    await connection.execute(_recording(connection.dialect.name), {"rows": msgspec.json.encode(rows).decode()})
    return [None] * len(hints)


# All rows in one parameter. Bound one by one, a batch would take the event loop's time for each row, and on SQLite
# hand the interpreter's lock over and back for each.
RECORD = """
    INSERT INTO webhooks (id, job, soniox_id, status, source, received_at_ms, last_seen_at_ms, due_at_ms,
                          seen, fence, tries)
    SELECT {text[0]}, {text[1]}, {text[2]}, {text[3]}, {text[4]}, {number[5]}, {number[5]}, {number[5]},
           {number[6]}, 0, 0
      FROM {rows} WHERE true
    ON CONFLICT (job, soniox_id, status) DO UPDATE SET
        seen = webhooks.seen + excluded.seen,
        last_seen_at_ms = excluded.last_seen_at_ms,
        due_at_ms = CASE excluded.source WHEN 'reconciler' THEN excluded.due_at_ms ELSE webhooks.due_at_ms END,
        handled_at_ms = CASE excluded.source WHEN 'reconciler' THEN NULL ELSE webhooks.handled_at_ms END
"""
COLUMNS = range(len(Hint._fields) + 1)


@cache
def _recording(dialect: str) -> TextClause:
    if dialect == "sqlite":
        rows = "json_each(:rows)"
        words = numbers = [f"json_extract(value, '$[{place}]')" for place in COLUMNS]
    else:
        rows = "json_array_elements(CAST(:rows AS json)) AS each (value)"
        words = [f"value ->> {place}" for place in COLUMNS]
        numbers = [f"CAST({word} AS bigint)" for word in words]
    return text(RECORD.format(rows=rows, text=words, number=numbers))


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
