"""Uploaded files, stored in chunks until Soniox has them."""

from collections.abc import AsyncIterator, Sequence
from functools import partial

from sqlalchemy import ColumnElement, delete, func, update
from sqlmodel import Session, select

from service.db.database import Database
from service.store.statements import insert_all
from service.store.transcription_queries import Page, keyset_page
from service.tables import File, FileChunk, table_of

files = table_of(File)
chunks = table_of(FileChunk)


def begin(session: Session, file: File) -> None:
    """Insert a file whose upload has begun."""
    insert_all(session, [file])


def add_chunk(session: Session, chunk: FileChunk) -> None:
    """Insert the next chunk."""
    insert_all(session, [chunk])


def complete(session: Session, file: File, transcription_id: str | None = None) -> None:
    """Mark an upload complete. From now on it can be found, or belongs to one transcription."""
    told = {"size": file.size, "client_reference_id": file.client_reference_id}
    values = {**told, "complete": True, "transcription_id": transcription_id}
    session.exec(update(files).where(files.c.id == file.id).values(**values))


def get(session: Session, file_id: str) -> File | None:
    """Return a complete file of any owner."""
    query = select(File).where(files.c.id == file_id, files.c.complete)
    return session.exec(query).one_or_none()


def find(session: Session, file_id: str, owner: str | None) -> File | None:
    """Return a complete file uploaded on its own, of `owner` or of any owner for None."""
    query = select(File).where(files.c.id == file_id, *_listed(owner))
    return session.exec(query).one_or_none()


def page_of(session: Session, owner: str | None, page: Page) -> list[File]:
    """Return one page of the files that `find` can return."""
    query = keyset_page(select(File).where(*_listed(owner)), files, page)
    return list(session.exec(query))


def count(session: Session, owner: str | None) -> int:
    """Count the files that `find` can return."""
    return int(session.exec(select(func.count()).select_from(files).where(*_listed(owner))).one())


async def read_chunks(database: Database, file: File) -> AsyncIterator[bytes]:
    """Yield the bytes in order. No connection is held between chunks.

    Raises FileNotFoundError when the file is deleted during the read, so that its sender stops waiting.
    """
    position = sent = 0
    while sent < file.size:
        data = await database.read(partial(_chunk, file_id=file.id, position=position))
        if data is None:
            raise FileNotFoundError("the file was deleted while it was being read")
        yield data
        position += 1
        sent += len(data)


def _chunk(session: Session, file_id: str, position: int) -> bytes | None:
    query = select(chunks.c.data).where(chunks.c.file_id == file_id, chunks.c.position == position)
    return session.exec(query).one_or_none()


def remove(session: Session, file_id: str) -> bool:
    """Delete a file and its chunks. Return False when it does not exist."""
    session.exec(delete(chunks).where(chunks.c.file_id == file_id))
    return session.exec(delete(files).where(files.c.id == file_id)).rowcount == 1


def remove_incomplete(session: Session, file_id: str) -> None:
    """Delete an upload unless it is complete."""
    unwanted = select(files.c.id).where(files.c.id == file_id, ~files.c.complete)
    session.exec(delete(chunks).where(chunks.c.file_id.in_(unwanted)))
    session.exec(delete(files).where(files.c.id == file_id, ~files.c.complete))


def remove_of_transcriptions(session: Session, transcription_ids: Sequence[str]) -> int:
    """Delete the files uploaded with these transcriptions. Return their number."""
    if not transcription_ids:
        return 0
    theirs = files.c.transcription_id.in_(transcription_ids)
    session.exec(delete(chunks).where(chunks.c.file_id.in_(select(files.c.id).where(theirs))))
    return session.exec(delete(files).where(theirs)).rowcount


def remove_unfinished(session: Session, before_ms: int) -> None:
    """Delete incomplete uploads that began before `before_ms`."""
    cut_off = delete(files).where(~files.c.complete, files.c.created_at_ms < before_ms).returning(files.c.id)
    gone = session.scalars(cut_off).all()
    session.exec(delete(chunks).where(chunks.c.file_id.in_(gone)))


def _listed(owner: str | None) -> list[ColumnElement[bool]]:
    """Match complete files that do not belong to a transcription."""
    own = [files.c.complete, files.c.transcription_id.is_(None)]
    return own if owner is None else [*own, files.c.owner == owner]
