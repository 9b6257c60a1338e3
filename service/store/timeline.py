"""The steps in the life of a transcription, as the caller may read them."""

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.changes import insert_all
from service.store.rows import as_models
from service.tables import TimelineEntry, table_of

timeline = table_of(TimelineEntry)


async def note(connection: AsyncConnection, *entries: TimelineEntry) -> None:
    """Write entries down with the step they tell of."""
    await insert_all(connection, entries)


async def of(connection: AsyncConnection, transcription_id: str) -> list[TimelineEntry]:
    """All entries of one transcription, oldest first."""
    query = select(timeline).where(timeline.c.transcription_id == transcription_id).order_by(timeline.c.id)
    return as_models(TimelineEntry, await connection.execute(query))


async def newest(connection: AsyncConnection, transcription_id: str, limit: int) -> list[TimelineEntry]:
    """Its last entries, the newest first."""
    theirs = select(timeline).where(timeline.c.transcription_id == transcription_id)
    return as_models(TimelineEntry, await connection.execute(theirs.order_by(timeline.c.id.desc()).limit(limit)))


async def forget(connection: AsyncConnection, transcription_id: str) -> None:
    """Delete the entries of one transcription."""
    await connection.execute(delete(timeline).where(timeline.c.transcription_id == transcription_id))
