"""What a page of a long transcript needs: which chunks there are, one of them, and who speaks when."""

from typing import NamedTuple

from sqlmodel import Session, select

from service.tables import Passage, TranscriptChunk, table_of

chunks = table_of(TranscriptChunk)
passages = table_of(Passage)

MOST_PASSAGES = 20_000


class Stretch(NamedTuple):
    """A chunk without its tokens; times are None where Soniox gave none."""

    position: int
    token_count: int
    start_ms: int | None
    end_ms: int | None
    min_confidence: float | None


def all_of(session: Session, transcription_id: str) -> list[Stretch]:
    """All chunks in order: about a hundred for the longest recording."""
    columns = [chunks.c[name] for name in Stretch._fields]
    query = select(*columns).where(chunks.c.transcription_id == transcription_id).order_by(chunks.c.position)
    return [Stretch(*row) for row in session.exec(query).all()]


def tokens_of(session: Session, transcription_id: str, position: int) -> bytes | None:
    """One packed chunk."""
    query = select(chunks.c.data).where(
        chunks.c.transcription_id == transcription_id, chunks.c.position == position
    )
    found: bytes | None = session.exec(query).one_or_none()
    return found


def heard(session: Session, transcription_id: str) -> list[tuple[int, str | None, int]]:
    """When each passage begins (ms), who speaks it, and how many tokens it has."""
    query = select(passages.c.start_ms, passages.c.speaker, passages.c.token_count).where(
        passages.c.transcription_id == transcription_id, passages.c.start_ms.is_not(None)
    )
    found = session.exec(query.limit(MOST_PASSAGES))
    return [(start_ms, speaker, token_count) for start_ms, speaker, token_count in found]
