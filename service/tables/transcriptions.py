"""Transcriptions and their related rows: timeline, files, idempotency keys, inbox, removals."""

from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, CheckConstraint, Column, Index, LargeBinary
from sqlmodel import Field, SQLModel

from service.lifecycle import Stage
from service.tables.base import NOT_COMPLETED, SERIAL, QueueColumns, due, one_of, partial


class Transcription(QueueColumns, table=True):
    """One transcription. A claim submits it, or finds out whether a create took effect."""

    __tablename__: ClassVar[str] = "transcriptions"
    __table_args__ = (
        CheckConstraint(one_of("stage", tuple(Stage)), name="ck_transcriptions_stage"),
        due("transcriptions"),
        Index("ix_transcriptions_owner_created", "owner", "created_at_ms", "id"),
        Index("ix_transcriptions_created", "created_at_ms", "id"),
        Index("ix_transcriptions_soniox_id", "soniox_id"),
        partial(
            "ix_transcriptions_reference",
            "client_reference_id IS NOT NULL",
            *("client_reference_id", "created_at_ms", "id"),
        ),
        partial("ix_transcriptions_unfinished", NOT_COMPLETED, "stage", "created_at_ms", "id"),
        partial("ix_transcriptions_check", "check_at_ms IS NOT NULL", "check_at_ms"),
        partial(
            "ix_transcriptions_finished",
            "finished_at_ms IS NOT NULL",
            *("stage", "learned_from", "finished_at_ms", "owner", "created_at_ms"),
        ),
    )

    id: str = Field(primary_key=True)
    owner: str
    stage: str = Stage.ACCEPTED
    created_at_ms: int = Field(sa_type=BigInteger)
    submitted_at_ms: int | None = Field(default=None, sa_type=BigInteger)
    finished_at_ms: int | None = Field(default=None, sa_type=BigInteger)
    check_at_ms: int | None = Field(default=None, sa_type=BigInteger)  # while submitted: the next check
    request: dict[str, Any] = Field(default={}, sa_type=JSON)  # Soniox's fields, unknown ones included
    caller_metadata: dict[str, Any] | None = Field(default=None, sa_type=JSON)
    client_reference_id: str | None = None
    filename: str
    file_id: str | None = None  # a file stored by the relay; a file at Soniox is only in `request`
    callback_url: str | None = None  # the caller's own webhook_url
    callback_header: str | None = None
    callback_secret_encrypted: str | None = None
    callback_status_code: int | None = None  # last answer of the caller's webhook_url
    attempt: int = 1  # raised by retry
    adopted: bool = False  # created at Soniox by another client: not removed there
    unsettled: bool = False  # a create or upload may have taken effect: list before creating
    soniox_id: str | None = None
    soniox_file_id: str | None = None  # a file that the relay uploaded
    soniox_status: str | None = None
    past_soniox_ids: list[str] = Field(default=[], sa_type=JSON)
    webhook_status_code: int | None = None  # the relay's answer to Soniox's webhook, as Soniox reports it
    learned_from: str | None = None  # webhook, reconciler, submission
    model: str
    audio_duration_ms: int | None = None
    error_type: str | None = None
    error_message: str | None = None
    traceparent: str | None = None  # W3C trace context of the request that created it


class TimelineEntry(SQLModel, table=True):
    """One step of a transcription, written in the same transaction as the step."""

    __tablename__: ClassVar[str] = "timeline"
    id: int | None = Field(default=None, sa_column=Column(SERIAL, primary_key=True))
    transcription_id: str = Field(index=True)
    at_ms: int = Field(sa_type=BigInteger)
    step: str
    source: str
    http_status: int | None = None
    duration_ms: int | None = None
    detail: str | None = None


class File(SQLModel, table=True):
    """An uploaded file, stored until Soniox has the transcription that needs it."""

    __tablename__: ClassVar[str] = "files"
    __table_args__ = (Index("ix_files_owner_created", "owner", "created_at_ms", "id"),)
    id: str = Field(primary_key=True)
    owner: str
    filename: str
    size: int = Field(sa_type=BigInteger)  # bytes
    client_reference_id: str | None = None
    created_at_ms: int = Field(sa_type=BigInteger)
    complete: bool = False  # all bytes are on disk
    transcription_id: str | None = Field(default=None, index=True)  # set: uploaded and deleted with it


class FileChunk(SQLModel, table=True):
    """A chunk of a file. `position` orders the chunks."""

    __tablename__: ClassVar[str] = "file_chunks"
    file_id: str = Field(primary_key=True)
    position: int = Field(primary_key=True)
    data: bytes = Field(sa_type=LargeBinary)


class IdempotencyKey(SQLModel, table=True):
    """An idempotency key, the transcription it created, and the fingerprint of the request body."""

    __tablename__: ClassVar[str] = "idempotency_keys"
    owner: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    fingerprint: str
    transcription_id: str = Field(index=True)
    created_at_ms: int = Field(sa_type=BigInteger)


class Webhook(QueueColumns, table=True):
    """A row of the inbox: a report of Soniox, or of the reconciler in its place. A claim collects the result.

    `transcription_id` is the transcription named in the URL, empty when the relay did not create it.
    """

    __tablename__: ClassVar[str] = "webhooks"
    __table_args__ = (
        Index("uq_webhooks_transcription_id", "transcription_id", "soniox_id", "status", unique=True),
        due("webhooks"),
    )
    id: str = Field(primary_key=True)
    transcription_id: str = ""
    soniox_id: str
    status: str
    source: str  # webhook, reconciler
    received_at_ms: int = Field(sa_type=BigInteger)
    last_seen_at_ms: int = Field(sa_type=BigInteger)
    receive_count: int = 1  # raised by every duplicate
    handled_at_ms: int | None = Field(default=None, sa_type=BigInteger)
    outcome: str | None = None


class Removal(QueueColumns, table=True):
    """A pending deletion at Soniox: a transcription, then its file. The row is deleted when both are."""

    __tablename__: ClassVar[str] = "removals"
    __table_args__ = (due("removals"),)
    id: str = Field(primary_key=True)
    transcription_id: str = Field(index=True)
    soniox_id: str | None = None
    soniox_file_id: str | None = None
    unsettled: bool = False  # a create or upload may have taken effect: list first
    created_at_ms: int = Field(sa_type=BigInteger)
