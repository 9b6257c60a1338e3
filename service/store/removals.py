"""What must go at Soniox."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from service.db import STATEMENTS, by_itself
from service.ids import new_id
from service.store.changes import Change, insert_all, run
from service.store.rows import new
from service.tables import Removal


def of(
    transcription_id: str,
    soniox_id: str | None,
    soniox_file_id: str | None,
    now_ms: int,
    *,
    unsettled: bool = False,
) -> list[Removal]:
    """The row that has a transcription and its file removed; none when there is nothing to remove."""
    if soniox_id is None and soniox_file_id is None and not unsettled:
        return []
    row = new(
        Removal,
        id=new_id("rem", now_ms),
        transcription_id=transcription_id,
        soniox_id=soniox_id,
        soniox_file_id=soniox_file_id,
        unsettled=unsettled,
        created_at_ms=now_ms,
        due_at_ms=now_ms,
    )
    return [row]


async def order(connection: AsyncConnection, rows: Sequence[Removal]) -> None:
    """Have all of these removed."""
    await insert_all(connection, rows)


@by_itself(STATEMENTS, on_sqlite=True)
async def done(connection: AsyncConnection, rows: Sequence[Removal]) -> Sequence[None]:
    """All of them are gone; a row whose claim was lost stays."""
    await run(connection, Change("gone", GONE, [(row.id, row.fence) for row in rows], DELETE))
    return [None] * len(rows)


DELETE = """
    DELETE FROM removals
     WHERE id IN (SELECT id FROM gone) AND lease_until_ms IS NOT NULL
       AND fence = (SELECT gone.fence FROM gone WHERE gone.id = removals.id)
"""
GONE = (("id", "text"), ("fence", "bigint"))
