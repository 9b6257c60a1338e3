"""What is old enough to be deleted, and what deleting leaves behind in SQLite's files."""

import aiosqlite
from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.db import Database
from service.lifecycle import Stage
from service.store.rows import as_models
from service.tables import Delivery, Transcription, table_of

jobs = table_of(Transcription)
deliveries = table_of(Delivery)

LOCK_WAIT_S = 0.5  # longer would hold up those who write


async def expired(connection: AsyncConnection, before_ms: int, limit: int) -> list[Transcription]:
    """Transcriptions that ended before that moment and have nothing due for delivery any more, the oldest first.

    What is held for a disabled endpoint is not due: switching off a receiver does not prolong the retention.
    """
    # Compared, not looked up: the index on the creation has all in order, any other one would have to be sorted.
    over = jobs.c.stage.concat("").in_((Stage.COMPLETED, Stage.FAILED)) & (jobs.c.finished_at_ms + 0 < before_ms)
    pending = (deliveries.c.transcription_id == jobs.c.id) & deliveries.c.due_at_ms.is_not(None)
    query = (
        select(jobs)
        .where(jobs.c.created_at_ms < before_ms, over, ~exists().where(pending))
        .order_by(jobs.c.created_at_ms, jobs.c.id)
        .limit(limit)
    )
    return as_models(Transcription, await connection.execute(query))


async def empty_log(database: Database) -> bool:
    """Move SQLite's write-ahead log into the database and cut it off; False when somebody was reading it."""
    async with aiosqlite.connect(str(database.engine.url.database), timeout=LOCK_WAIT_S) as connection:
        answer = await (await connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")).fetchone()
    return answer is not None and answer[0] == 0
