"""Uploaded files, in chunks, until Soniox has them."""

from collections.abc import AsyncIterator, Sequence

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.db import Database
from service.store.changes import insert_all
from service.store.paging import Page, cut
from service.store.rows import as_model, as_models
from service.tables import File, FileChunk, table_of

files = table_of(File)
chunks = table_of(FileChunk)


async def begin(connection: AsyncConnection, file: File) -> None:
    """Make room for the chunks of a file that is still coming in."""
    await insert_all(connection, [file])


async def add_chunk(connection: AsyncConnection, chunk: FileChunk) -> None:
    """Store the next piece."""
    await insert_all(connection, [chunk])


async def complete(connection: AsyncConnection, file: File, transcription_id: str | None = None) -> None:
    """The last byte is here: from now on the file exists for others, or for one transcription alone."""
    told = {"size": file.size, "client_reference_id": file.client_reference_id}
    values = {**told, "complete": True, "transcription_id": transcription_id}
    await connection.execute(update(files).where(files.c.id == file.id).values(**values))


async def get(connection: AsyncConnection, file_id: str) -> File | None:
    """One complete file, whoever owns it."""
    query = select(files).where(files.c.id == file_id, files.c.complete)
    return as_model(File, await connection.execute(query))


async def find(connection: AsyncConnection, file_id: str, owner: str | None) -> File | None:
    """A file that was uploaded by itself, of `owner`'s or anybody's for None."""
    query = select(files).where(files.c.id == file_id, *_listed(owner))
    return as_model(File, await connection.execute(query))


async def page_of(connection: AsyncConnection, owner: str | None, page: Page) -> list[File]:
    """One page of those that `find` finds."""
    query = cut(select(files).where(*_listed(owner)), files, page)
    return as_models(File, await connection.execute(query))


async def count(connection: AsyncConnection, owner: str | None) -> int:
    """How many there are."""
    return int(
        (await connection.execute(select(func.count()).select_from(files).where(*_listed(owner)))).scalar_one()
    )


async def read_chunks(database: Database, file: File) -> AsyncIterator[bytes]:
    """The bytes in order; no connection is held while a piece is being used.

    Raises FileNotFoundError when the file is deleted meanwhile: whoever sends it must not wait for the rest.
    """
    position = sent = 0
    while sent < file.size:
        query = select(chunks.c.data).where(chunks.c.file_id == file.id, chunks.c.position == position)
        async with database.read() as connection:
            data: bytes | None = (await connection.execute(query)).scalar_one_or_none()
        if data is None:
            raise FileNotFoundError("the file was deleted while it was being read")
        yield data
        position += 1
        sent += len(data)


async def remove(connection: AsyncConnection, file_id: str) -> bool:
    """Delete a file and its chunks; False when it was not there."""
    await connection.execute(delete(chunks).where(chunks.c.file_id == file_id))
    return (await connection.execute(delete(files).where(files.c.id == file_id))).rowcount == 1


async def remove_incomplete(connection: AsyncConnection, file_id: str) -> None:
    """Delete an upload that is not wanted after all; one that was completed meanwhile stays."""
    unwanted = select(files.c.id).where(files.c.id == file_id, ~files.c.complete)
    await connection.execute(delete(chunks).where(chunks.c.file_id.in_(unwanted)))
    await connection.execute(delete(files).where(files.c.id == file_id, ~files.c.complete))


async def remove_of_transcriptions(connection: AsyncConnection, transcription_ids: Sequence[str]) -> int:
    """Delete what was uploaded as part of some submissions; gives back how many files that were."""
    if not transcription_ids:
        return 0
    theirs = files.c.transcription_id.in_(transcription_ids)
    await connection.execute(delete(chunks).where(chunks.c.file_id.in_(select(files.c.id).where(theirs))))
    return (await connection.execute(delete(files).where(theirs))).rowcount


async def remove_unfinished(connection: AsyncConnection, before_ms: int) -> None:
    """Delete uploads that were cut off."""
    cut_off = delete(files).where(~files.c.complete, files.c.created_at_ms < before_ms).returning(files.c.id)
    gone = (await connection.execute(cut_off)).scalars().all()
    await connection.execute(delete(chunks).where(chunks.c.file_id.in_(gone)))


def _listed(owner: str | None) -> list[ColumnElement[bool]]:
    """What belongs to a submission is not a file of its own."""
    own = [files.c.complete, files.c.transcription_id.is_(None)]
    return own if owner is None else [*own, files.c.owner == owner]
