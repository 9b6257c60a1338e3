"""Stored transcripts: an envelope and chunks of packed tokens."""

from collections.abc import AsyncIterator

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.rows import as_model, insert_all
from service.tables import Transcript, TranscriptChunk, table_of

transcripts = table_of(Transcript)
chunks = table_of(TranscriptChunk)

CHUNKS_AT_ONCE = 8


async def put(connection: AsyncConnection, transcript: Transcript, parts: list[TranscriptChunk]) -> None:
    """Store one transcript whole."""
    await insert_all(connection, [transcript])
    await insert_all(connection, parts)


async def get(connection: AsyncConnection, transcription_id: str) -> Transcript | None:
    """The envelope and summary."""
    query = select(transcripts).where(transcripts.c.transcription_id == transcription_id)
    return as_model(Transcript, await connection.execute(query))


async def read_chunks(connection: AsyncConnection, transcription_id: str) -> AsyncIterator[bytes]:
    """The packed chunks in order, a few at a time."""
    position = 0
    while True:
        query = (
            select(chunks.c.position, chunks.c.data)
            .where(chunks.c.transcription_id == transcription_id, chunks.c.position >= position)
            .order_by(chunks.c.position)
            .limit(CHUNKS_AT_ONCE)
        )
        found = (await connection.execute(query)).all()
        for row in found:
            yield row.data
        if len(found) < CHUNKS_AT_ONCE:
            return
        position = found[-1].position + 1


async def delete_of(connection: AsyncConnection, transcription_id: str) -> None:
    """Delete one transcript."""
    await connection.execute(delete(chunks).where(chunks.c.transcription_id == transcription_id))
    await connection.execute(delete(transcripts).where(transcripts.c.transcription_id == transcription_id))
