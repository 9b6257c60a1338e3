"""Stored transcripts: an envelope, chunks of packed tokens, and the passages that search finds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import case, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store import search
from service.store.changes import Change, insertion
from service.store.rows import as_model
from service.tables import Passage, Transcript, TranscriptChunk, table_of
from service.transcripts.passages import Passage as FoundPassage

transcripts = table_of(Transcript)
chunks = table_of(TranscriptChunk)
passages = table_of(Passage)

ROWS_AT_ONCE = 100  # a megabyte or two in one statement


@dataclass(frozen=True)
class Parts:
    """Everything that is stored of one transcript."""

    owner: str
    head: Transcript
    chunks: list[TranscriptChunk]
    passages: list[FoundPassage]


def storing(dialect: str, stored: Sequence[Parts]) -> Iterator[Change]:
    """Transcripts are stored whole; the last one is the newest."""
    for rows in ([parts.head for parts in stored], [chunk for parts in stored for chunk in parts.chunks]):
        for start in range(0, len(rows), ROWS_AT_ONCE):
            yield from insertion(rows[start : start + ROWS_AT_ONCE])
    yield from search.indexing(
        dialect,
        [
            search.Found(parts.head.transcription_id, parts.owner, passage)
            for parts in stored
            for passage in reversed(parts.passages)
        ],
    )


async def get(connection: AsyncConnection, transcription_id: str) -> Transcript | None:
    """The envelope and summary."""
    query = select(transcripts).where(transcripts.c.transcription_id == transcription_id)
    return as_model(Transcript, await connection.execute(query))


async def summaries(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The summaries of those transcriptions that have a transcript, by id."""
    query = select(transcripts.c.transcription_id, transcripts.c.summary)
    found = await connection.execute(query.where(transcripts.c.transcription_id.in_(ids)))
    return {row.transcription_id: row.summary for row in found}


async def read_chunks(
    connection: AsyncConnection, transcription_id: str, from_ms: int | None = None, to_ms: int | None = None
) -> list[bytes] | None:
    """The packed chunks in order, a few megabytes at most, or only those that may have tokens of a time window.

    None when the transcript was deleted meanwhile.
    """
    query = select(chunks.c.data).where(chunks.c.transcription_id == transcription_id)
    if from_ms is not None:
        query = query.where(chunks.c.end_ms >= from_ms)
    if to_ms is not None:
        query = query.where(chunks.c.start_ms < to_ms)
    found = list((await connection.execute(query.order_by(chunks.c.position))).scalars())
    present = select(transcripts.c.token_count).where(transcripts.c.transcription_id == transcription_id)
    return None if (await connection.execute(present)).first() is None else found


async def chunks_of(connection: AsyncConnection, found: Sequence[Passage]) -> dict[tuple[str, int], bytes]:
    """The packed chunks that passages begin and end in, by transcription and position."""
    last = case((passages.c.spills, passages.c.chunk + 1), else_=passages.c.chunk)
    theirs = (chunks.c.transcription_id == passages.c.transcription_id) & chunks.c.position.between(
        passages.c.chunk, last
    )
    query = select(chunks.c.transcription_id, chunks.c.position, chunks.c.data).join_from(passages, chunks, theirs)
    rows = await connection.execute(query.where(passages.c.id.in_([each.id for each in found])))
    return {(row.transcription_id, row.position): row.data for row in rows}


async def delete_of(connection: AsyncConnection, transcription_id: str) -> int:
    """Delete one transcript with all that search knows of it; gives back how many tokens it had."""
    await search.delete_of(connection, transcription_id)
    await connection.execute(delete(chunks).where(chunks.c.transcription_id == transcription_id))
    gone = delete(transcripts).where(transcripts.c.transcription_id == transcription_id)
    tokens: int | None = (await connection.execute(gone.returning(transcripts.c.token_count))).scalar_one_or_none()
    return tokens or 0
