"""Stored transcripts: an envelope, chunks of packed tokens, and the passages for search."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import case, delete
from sqlmodel import Session, select

from service.store import search
from service.store.statements import insert_all
from service.tables import Passage, Transcript, TranscriptChunk, table_of
from service.transcripts.passages import PassageDraft as FoundPassage

transcripts = table_of(Transcript)
chunks = table_of(TranscriptChunk)
passages = table_of(Passage)

ROWS_AT_ONCE = 100  # one or two megabytes in one statement


@dataclass(frozen=True)
class Parts:
    """All stored rows of one transcript."""

    owner: str
    head: Transcript
    chunks: list[TranscriptChunk]
    passages: list[FoundPassage]


def store(session: Session, parts: Parts) -> None:
    """Insert a transcript with its chunks and passages."""
    insert_all(session, [parts.head])
    for start in range(0, len(parts.chunks), ROWS_AT_ONCE):
        insert_all(session, parts.chunks[start : start + ROWS_AT_ONCE])
    search.index(session, parts.head.transcription_id, parts.owner, parts.passages)


def get(session: Session, transcription_id: str) -> Transcript | None:
    """Return a transcript's envelope and summary."""
    query = select(Transcript).where(transcripts.c.transcription_id == transcription_id)
    return session.exec(query).one_or_none()


def summaries(session: Session, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return summaries by transcription id, for those that have a transcript."""
    query = select(transcripts.c.transcription_id, transcripts.c.summary)
    found = session.exec(query.where(transcripts.c.transcription_id.in_(ids)))
    return dict(found.all())


def read_chunks(
    session: Session, transcription_id: str, from_ms: int | None = None, to_ms: int | None = None
) -> list[bytes] | None:
    """Return the packed chunks in order, or only those that may have tokens of a time window.

    They are a few megabytes at most. None when the transcript was deleted.
    """
    query = select(chunks.c.data).where(chunks.c.transcription_id == transcription_id)
    if from_ms is not None:
        query = query.where(chunks.c.end_ms >= from_ms)
    if to_ms is not None:
        query = query.where(chunks.c.start_ms < to_ms)
    found = list(session.exec(query.order_by(chunks.c.position)))
    present = select(transcripts.c.token_count).where(transcripts.c.transcription_id == transcription_id)
    return None if session.exec(present).first() is None else found


def chunks_of(session: Session, found: Sequence[Passage]) -> dict[tuple[str, int], bytes]:
    """Return the packed chunks that the passages begin and end in, by (transcription id, position)."""
    last = case((passages.c.spills, passages.c.chunk + 1), else_=passages.c.chunk)
    theirs = (chunks.c.transcription_id == passages.c.transcription_id) & chunks.c.position.between(
        passages.c.chunk, last
    )
    query = select(chunks.c.transcription_id, chunks.c.position, chunks.c.data).join_from(passages, chunks, theirs)
    rows = session.exec(query.where(passages.c.id.in_([each.id for each in found])))
    return {(job_id, position): data for job_id, position, data in rows}


def delete_of(session: Session, transcription_id: str) -> int:
    """Delete a transcript and its search index. Return the number of its tokens."""
    search.delete_of(session, transcription_id)
    session.exec(delete(chunks).where(chunks.c.transcription_id == transcription_id))
    gone = delete(transcripts).where(transcripts.c.transcription_id == transcription_id)
    return session.scalars(gone.returning(transcripts.c.token_count)).one_or_none() or 0


MOST_PASSAGES = 20_000


class ChunkTimes(NamedTuple):
    """A chunk without its tokens. Times are None where Soniox gave none."""

    position: int
    token_count: int
    start_ms: int | None
    end_ms: int | None
    min_confidence: float | None


def chunk_times(session: Session, transcription_id: str) -> list[ChunkTimes]:
    """Return the times of all chunks in order: about a hundred for the longest recording."""
    columns = [chunks.c[name] for name in ChunkTimes._fields]
    query = select(*columns).where(chunks.c.transcription_id == transcription_id).order_by(chunks.c.position)
    return [ChunkTimes(*row) for row in session.exec(query).all()]


def tokens_of_chunk(session: Session, transcription_id: str, position: int) -> bytes | None:
    """Return one packed chunk."""
    query = select(chunks.c.data).where(
        chunks.c.transcription_id == transcription_id, chunks.c.position == position
    )
    found: bytes | None = session.exec(query).one_or_none()
    return found


def speaker_passages(session: Session, transcription_id: str) -> list[tuple[int, str | None, int]]:
    """Return (start_ms, speaker, token_count) of up to MOST_PASSAGES passages that have a start time."""
    query = select(passages.c.start_ms, passages.c.speaker, passages.c.token_count).where(
        passages.c.transcription_id == transcription_id, passages.c.start_ms.is_not(None)
    )
    found = session.exec(query.limit(MOST_PASSAGES))
    return [(start_ms, speaker, token_count) for start_ms, speaker, token_count in found]
