"""The steps in the life of a transcription, as the caller may read them."""

from sqlalchemy import delete
from sqlmodel import Session, select

from service.store.rows import insert_all
from service.tables import TimelineEntry, table_of

timeline = table_of(TimelineEntry)


def note(session: Session, *entries: TimelineEntry) -> None:
    """Write entries down with the step they tell of."""
    insert_all(session, entries)


def of(session: Session, transcription_id: str) -> list[TimelineEntry]:
    """All entries of one transcription, oldest first."""
    query = select(TimelineEntry).where(timeline.c.transcription_id == transcription_id).order_by(timeline.c.id)
    return list(session.exec(query))


def newest(session: Session, transcription_id: str, limit: int) -> list[TimelineEntry]:
    """Its last entries, the newest first."""
    theirs = select(TimelineEntry).where(timeline.c.transcription_id == transcription_id)
    return list(session.exec(theirs.order_by(timeline.c.id.desc()).limit(limit)))


def forget(session: Session, transcription_id: str) -> None:
    """Delete the entries of one transcription."""
    session.exec(delete(timeline).where(timeline.c.transcription_id == transcription_id))
