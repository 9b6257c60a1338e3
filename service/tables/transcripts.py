"""Stored transcripts: envelope, chunks, and passages for search."""

from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, Column, LargeBinary
from sqlmodel import Field, SQLModel

from service.tables.base import SERIAL


class Transcript(SQLModel, table=True):
    """A transcript without its tokens: the rest of Soniox's answer, and a summary."""

    __tablename__: ClassVar[str] = "transcripts"
    transcription_id: str = Field(primary_key=True)
    envelope: bytes = Field(sa_type=LargeBinary)
    digest: str  # of envelope and chunks: equal for equal stored bytes
    token_count: int
    summary: dict[str, Any] = Field(default={}, sa_type=JSON)
    stored_at_ms: int = Field(sa_type=BigInteger)


class TranscriptChunk(SQLModel, table=True):
    """About 1,000 packed tokens. The times are those of the first and last token."""

    __tablename__: ClassVar[str] = "transcript_chunks"
    transcription_id: str = Field(primary_key=True)
    position: int = Field(primary_key=True)
    token_count: int
    start_ms: int | None = None
    end_ms: int | None = None
    min_confidence: float | None = None
    data: bytes = Field(sa_type=LargeBinary)


class Passage(SQLModel, table=True):
    """Consecutive tokens of one speaker, the unit of search. Its words are in `search_words` under the same id.

    Higher ids are newer transcripts and, within a transcript, earlier positions. Revision 0002 creates
    `search_words`: an FTS5 table on SQLite, a tsvector with a GIN index on PostgreSQL.
    """

    __tablename__: ClassVar[str] = "passages"
    id: int = Field(sa_column=Column(SERIAL, primary_key=True))
    transcription_id: str = Field(index=True)
    chunk: int  # position of its first chunk
    first_token: int  # index in that chunk
    token_count: int
    spills: bool  # it ends in the next chunk
    start_ms: int | None = None
    speaker: str | None = None
