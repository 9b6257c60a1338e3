"""What is old enough to be deleted, and what deleting leaves behind in SQLite's files."""

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import exists
from sqlmodel import Session, select

from service.lifecycle import Stage
from service.tables import Delivery, Transcription, table_of

jobs = table_of(Transcription)
deliveries = table_of(Delivery)

LOCK_WAIT_S = 0.5  # longer would hold up those who write


def expired(session: Session, before_ms: int, limit: int) -> list[Transcription]:
    """Transcriptions that ended before that moment and have nothing due for delivery any more, the oldest first.

    What is held for a disabled endpoint is not due: switching off a receiver does not prolong the retention.
    """
    # Compared, not looked up: the index on the creation has all in order, any other one would have to be sorted.
    over = jobs.c.stage.concat("").in_((Stage.COMPLETED, Stage.FAILED)) & (jobs.c.finished_at_ms + 0 < before_ms)
    pending = (deliveries.c.transcription_id == jobs.c.id) & deliveries.c.due_at_ms.is_not(None)
    query = (
        select(Transcription)
        .where(jobs.c.created_at_ms < before_ms, over, ~exists().where(pending))
        .order_by(jobs.c.created_at_ms, jobs.c.id)
        .limit(limit)
    )
    return list(session.exec(query))


def empty_log(path: Path) -> bool:
    """Move SQLite's write-ahead log into the database and cut it off; False when somebody was reading it."""
    with closing(sqlite3.connect(path, timeout=LOCK_WAIT_S)) as connection:
        return bool(connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0)
