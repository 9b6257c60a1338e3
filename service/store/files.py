"""Uploaded files, in chunks, until Soniox has them."""

from collections.abc import AsyncIterator

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.db import Database
from service.store.rows import as_model, insert_all
from service.tables import File, FileChunk, table_of

files = table_of(File)
chunks = table_of(FileChunk)


async def begin(connection: AsyncConnection, file: File) -> None:
    """Make room for the chunks of a file that is still coming in."""
    await insert_all(connection, [file])


async def add_chunk(connection: AsyncConnection, chunk: FileChunk) -> None:
    """Store the next piece."""
    await insert_all(connection, [chunk])


async def complete(connection: AsyncConnection, file_id: str, size: int, transcription_id: str | None) -> None:
    """The last byte is here: from now on the file exists for others."""
    values = {"size": size, "complete": True, "transcription_id": transcription_id}
    await connection.execute(update(files).where(files.c.id == file_id).values(**values))


async def get(connection: AsyncConnection, file_id: str) -> File | None:
    """One complete file, whoever owns it."""
    query = select(files).where(files.c.id == file_id, files.c.complete)
    return as_model(File, await connection.execute(query))


async def read_chunks(database: Database, file_id: str) -> AsyncIterator[bytes]:
    """The bytes in order; no connection is held while a piece is being used."""
    position = 0
    while True:
        query = select(chunks.c.data).where(chunks.c.file_id == file_id, chunks.c.position == position)
        async with database.read() as connection:
            data: bytes | None = (await connection.execute(query)).scalar_one_or_none()
        if data is None:
            return
        yield data
        position += 1


async def remove(connection: AsyncConnection, file_id: str) -> bool:
    """Delete a file and its chunks; False when it was not there."""
    await connection.execute(delete(chunks).where(chunks.c.file_id == file_id))
    return (await connection.execute(delete(files).where(files.c.id == file_id))).rowcount == 1


async def remove_of_transcription(connection: AsyncConnection, transcription_id: str) -> None:
    """Delete what was uploaded as part of one submission."""
    theirs = select(files.c.id).where(files.c.transcription_id == transcription_id)
    await connection.execute(delete(chunks).where(chunks.c.file_id.in_(theirs)))
    await connection.execute(delete(files).where(files.c.transcription_id == transcription_id))


async def remove_unfinished(connection: AsyncConnection, before_ms: int) -> None:
    """Delete uploads that were cut off."""
    cut_off = select(files.c.id).where(~files.c.complete, files.c.created_at_ms < before_ms)
    await connection.execute(delete(chunks).where(chunks.c.file_id.in_(cut_off)))
    await connection.execute(delete(files).where(~files.c.complete, files.c.created_at_ms < before_ms))
