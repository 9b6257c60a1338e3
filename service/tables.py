"""The tables. Moments are integers in ms since 1970 (`_ms`), on both databases; queries live in `store/`.

A table that is a queue has the columns of `Due`; the row itself is the queue entry, so that no job table can
disagree with the state. There are no foreign keys: rows that belong together are written and deleted in one
transaction by `store/`, and a purge must not lock what a worker claims.
"""

from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, CheckConstraint, Column, Index, Integer, LargeBinary, Table, text
from sqlmodel import Field, SQLModel

from service.lifecycle import OPEN_STAGES, DeliveryStatus, Stage

# SQLite gives a key of its own only to INTEGER, PostgreSQL needs BIGINT.
SERIAL = BigInteger().with_variant(Integer(), "sqlite")


def _one_of(column: str, words: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(str(word)) for word in words)})"


IS_OPEN = _one_of("stage", OPEN_STAGES)  # a query must repeat it word for word, or SQLite passes the index by


def _partial(name: str, condition: str, *columns: str) -> Index:
    """An index that holds only the rows that still matter, however many finished ones there are."""
    return Index(name, *columns, sqlite_where=text(condition), postgresql_where=text(condition))


def _due(table: str) -> Index:
    return _partial(f"ix_{table}_due", "due_at_ms IS NOT NULL", "due_at_ms")


class Due(SQLModel):
    """Columns of a row that waits for a worker.

    A claim sets the lease and raises `fence`; whoever finishes must still hold that fence. `due_at_ms` is not
    changed by a claim, so that on PostgreSQL a claim is a cheap in-page update.
    """

    due_at_ms: int | None = Field(default=None, sa_type=BigInteger)  # None: nothing to do
    lease_until_ms: int | None = Field(default=None, sa_type=BigInteger)
    leased_by: str | None = None
    fence: int = 0
    tries: int = 0  # failed tries since the last progress
    last_error: str | None = None


class Transcription(Due, table=True):
    """One job. Due means: submit it, or settle whether a create took effect."""

    __tablename__: ClassVar[str] = "transcriptions"
    __table_args__ = (
        CheckConstraint(_one_of("stage", tuple(Stage)), name="ck_transcriptions_stage"),
        _due("transcriptions"),
        Index("ix_transcriptions_owner_created", "owner", "created_at_ms", "id"),
        Index("ix_transcriptions_created", "created_at_ms", "id"),
        Index("ix_transcriptions_soniox_id", "soniox_id"),
        Index("ix_transcriptions_reference", "client_reference_id"),
        _partial("ix_transcriptions_open", IS_OPEN, "stage", "soniox_status"),
        _partial("ix_transcriptions_check", "check_at_ms IS NOT NULL", "check_at_ms"),
    )

    id: str = Field(primary_key=True)
    owner: str
    stage: str = Stage.ACCEPTED
    created_at_ms: int = Field(sa_type=BigInteger)
    submitted_at_ms: int | None = Field(default=None, sa_type=BigInteger)
    finished_at_ms: int | None = Field(default=None, sa_type=BigInteger)
    check_at_ms: int | None = Field(default=None, sa_type=BigInteger)  # when the reconciler asks, while submitted
    request: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)  # Soniox's fields, unknown ones included
    caller_metadata: dict[str, Any] | None = Field(default=None, sa_type=JSON)
    client_reference_id: str | None = None
    filename: str
    file_id: str | None = None  # a file kept here; one that lies at Soniox is named in `request` only
    callback_url: str | None = None  # the caller's own webhook_url
    callback_header: str | None = None
    callback_secret_sealed: str | None = None
    callback_status_code: int | None = None  # what the caller's webhook_url answered last
    attempt: int = 1  # raised by retry
    adopted: bool = False  # somebody else created it at Soniox: it is not removed there
    unsettled: bool = False  # a create or upload may have taken effect: list before creating
    soniox_id: str | None = None
    soniox_file_id: str | None = None  # a file the relay uploaded
    soniox_status: str | None = None
    past_soniox_ids: list[str] = Field(default_factory=list, sa_type=JSON)
    webhook_status_code: int | None = None  # what Soniox saw from us
    learned_from: str | None = None  # webhook, reconciler
    model: str
    audio_duration_ms: int | None = None
    error_type: str | None = None
    error_message: str | None = None


class TimelineEntry(SQLModel, table=True):
    """One step in the life of a transcription, written with the step itself."""

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
    """An uploaded file, kept here until the transcription that needs it goes to Soniox."""

    __tablename__: ClassVar[str] = "files"
    __table_args__ = (Index("ix_files_owner_created", "owner", "created_at_ms", "id"),)
    id: str = Field(primary_key=True)
    owner: str
    filename: str
    size: int = Field(sa_type=BigInteger)  # bytes
    client_reference_id: str | None = None
    created_at_ms: int = Field(sa_type=BigInteger)
    complete: bool = False  # the last byte is on disk
    transcription_id: str | None = Field(default=None, index=True)  # set: part of that submission, goes with it


class FileChunk(SQLModel, table=True):
    """A piece of a file, in order."""

    __tablename__: ClassVar[str] = "file_chunks"
    file_id: str = Field(primary_key=True)
    position: int = Field(primary_key=True)
    data: bytes = Field(sa_type=LargeBinary)


class Webhook(Due, table=True):
    """The inbox: what Soniox, or the reconciler in its place, told us. Due means: collect the result.

    `job` is the transcription named in the URL, empty for one that the relay did not create.
    """

    __tablename__: ClassVar[str] = "webhooks"
    __table_args__ = (
        Index("uq_webhooks_job", "job", "soniox_id", "status", unique=True),
        _due("webhooks"),
        Index("ix_webhooks_received", "received_at_ms"),
    )
    id: str = Field(primary_key=True)
    job: str = ""
    soniox_id: str
    status: str
    source: str  # webhook, reconciler
    received_at_ms: int = Field(sa_type=BigInteger)
    last_seen_at_ms: int = Field(sa_type=BigInteger)
    seen: int = 1  # raised by every duplicate
    handled_at_ms: int | None = Field(default=None, sa_type=BigInteger)
    outcome: str | None = None


class Transcript(SQLModel, table=True):
    """What is not a token: the rest of Soniox's answer, and a summary."""

    __tablename__: ClassVar[str] = "transcripts"
    transcription_id: str = Field(primary_key=True)
    envelope: bytes = Field(sa_type=LargeBinary)
    digest: str  # of envelope and chunks: the same for the same stored bytes
    token_count: int
    summary: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    stored_at_ms: int = Field(sa_type=BigInteger)


class TranscriptChunk(SQLModel, table=True):
    """About 1,000 tokens, packed; the times are those of its first and last token."""

    __tablename__: ClassVar[str] = "transcript_chunks"
    transcription_id: str = Field(primary_key=True)
    position: int = Field(primary_key=True)
    token_count: int
    start_ms: int | None = None
    end_ms: int | None = None
    min_confidence: float | None = None
    data: bytes = Field(sa_type=LargeBinary)


class Passage(SQLModel, table=True):
    """A stretch of one speaker's tokens, the unit of search; its words are in `search_words` under the same id.

    Higher ids are newer transcripts, and earlier places within one. Revision 0002 makes `search_words`, which is
    an FTS5 table on SQLite and a tsvector with a GIN index on PostgreSQL.
    """

    __tablename__: ClassVar[str] = "passages"
    id: int = Field(sa_column=Column(SERIAL, primary_key=True))
    transcription_id: str = Field(index=True)
    chunk: int  # position of the chunk it begins in
    first_token: int  # its place in that chunk
    token_count: int
    spills: bool  # it ends in the next chunk
    start_ms: int | None = None
    speaker: str | None = None


class Removal(Due, table=True):
    """What must go at Soniox: a transcription, then its file. Deleted when both are gone."""

    __tablename__: ClassVar[str] = "removals"
    __table_args__ = (_due("removals"),)
    id: str = Field(primary_key=True)
    transcription_id: str = Field(index=True)
    soniox_id: str | None = None
    soniox_file_id: str | None = None
    unsettled: bool = False  # a create or upload may have taken effect: list first
    created_at_ms: int = Field(sa_type=BigInteger)


class Event(SQLModel, table=True):
    """The log of what happened; `body` is the JSON document that is sent and signed.

    Readers follow it in order of (`xact`, `seq`), see `store/feed.py`. Without AUTOINCREMENT SQLite would give the
    number of a deleted last event to the next one, and who has read so far would miss it.
    """

    __tablename__: ClassVar[str] = "events"
    __table_args__ = (
        Index("uq_events_id", "id", unique=True),
        Index("ix_events_order", "xact", "seq"),
        {"sqlite_autoincrement": True},
    )
    seq: int | None = Field(default=None, sa_column=Column(SERIAL, primary_key=True))
    xact: int = Field(default=0, sa_type=BigInteger)  # PostgreSQL's transaction, 0 on SQLite
    id: str
    type: str
    owner: str
    transcription_id: str | None = Field(default=None, index=True)
    created_at_ms: int = Field(sa_type=BigInteger)
    body: bytes = Field(sa_type=LargeBinary)


class Endpoint(SQLModel, table=True):
    """A downstream subscriber."""

    __tablename__: ClassVar[str] = "endpoints"
    id: str = Field(primary_key=True)
    owner: str = Field(index=True)
    sees_all: bool = False  # made with an admin key: hears of every key's transcriptions
    url: str
    event_types: list[str] = Field(default_factory=list, sa_type=JSON)  # empty: all
    include: str = "none"
    enabled: bool = True
    disabled_at_ms: int | None = Field(default=None, sa_type=BigInteger)
    disabled_reason: str | None = None  # None: the caller did it
    description: str | None = None
    rate_per_s: float | None = None
    max_in_flight: int = 10
    headers_sealed: str | None = None  # JSON object of the caller's own headers
    secret_sealed: str
    past_secrets: list[dict[str, Any]] = Field(default_factory=list, sa_type=JSON)  # {"sealed", "until_ms"}
    created_at_ms: int = Field(sa_type=BigInteger)


class Receiver(SQLModel, table=True):
    """How one receiver is doing, seen by all workers. `id` is an endpoint's, or stands for a callback's server.

    A receiver without a row is a healthy one without a rate.
    """

    __tablename__: ClassVar[str] = "receivers"
    id: str = Field(primary_key=True)
    failures: int = 0  # in a row
    failing_since_ms: int | None = Field(default=None, sa_type=BigInteger)
    closed_until_ms: int | None = Field(default=None, sa_type=BigInteger)  # nothing is sent before
    paid_until_ms: int = Field(default=0, sa_type=BigInteger)  # the moment up to which its rate is spent


class Delivery(Due, table=True):
    """One event on its way to one receiver: an endpoint, or the caller's own `webhook_url`.

    Pending and not due is held: its endpoint is disabled.
    """

    __tablename__: ClassVar[str] = "deliveries"
    __table_args__ = (
        CheckConstraint(_one_of("status", tuple(DeliveryStatus)), name="ck_deliveries_status"),
        _due("deliveries"),
        _partial("ix_deliveries_turn", "due_at_ms IS NOT NULL", "receiver", "due_at_ms", "id"),
        Index("ix_deliveries_endpoint", "endpoint_id", "created_at_ms", "id"),
        Index("ix_deliveries_created", "created_at_ms", "id"),
    )
    id: str = Field(primary_key=True)
    event_id: str = Field(index=True)
    owner: str
    transcription_id: str | None = Field(default=None, index=True)
    endpoint_id: str | None = None  # None: the caller's own webhook_url
    receiver: str  # whose turn, health and rate count: `Receiver.id`
    status: str = DeliveryStatus.PENDING
    created_at_ms: int = Field(sa_type=BigInteger)
    delivered_at_ms: int | None = Field(default=None, sa_type=BigInteger)


class Attempt(SQLModel, table=True):
    """One try of a delivery and what came of it."""

    __tablename__: ClassVar[str] = "attempts"
    id: int | None = Field(default=None, sa_column=Column(SERIAL, primary_key=True))
    delivery_id: str = Field(index=True)
    at_ms: int = Field(sa_type=BigInteger)
    duration_ms: int
    status_code: int | None = None
    error: str | None = None
    answer: bytes = Field(default=b"", sa_type=LargeBinary)  # its first bytes, whatever they are


class Recovery(Due, table=True):
    """An order to send again what an endpoint did not take since a moment. Due means: do the next batch.

    `at_created_ms` and `at_id` are the last delivery that was looked at.
    """

    __tablename__: ClassVar[str] = "recoveries"
    __table_args__ = (_due("recoveries"),)
    id: str = Field(primary_key=True)
    endpoint_id: str = Field(index=True)
    since_ms: int = Field(sa_type=BigInteger)
    until_ms: int = Field(sa_type=BigInteger)
    expected: int  # deliveries, counted when it was ordered
    recovered: int = 0
    at_created_ms: int = Field(sa_type=BigInteger)
    at_id: str = ""
    created_at_ms: int = Field(sa_type=BigInteger)
    finished_at_ms: int | None = Field(default=None, sa_type=BigInteger)


class ApiKey(SQLModel, table=True):
    """A caller's key, known only by its hash."""

    __tablename__: ClassVar[str] = "api_keys"
    id: str = Field(primary_key=True)
    name: str
    hash: str = Field(unique=True)
    scopes: list[str] = Field(default_factory=list, sa_type=JSON)
    created_at_ms: int = Field(sa_type=BigInteger)
    last_used_at_ms: int | None = Field(default=None, sa_type=BigInteger)
    revoked_at_ms: int | None = Field(default=None, sa_type=BigInteger)


class IdempotencyKey(SQLModel, table=True):
    """Which transcription an Idempotency-Key made, and of what body."""

    __tablename__: ClassVar[str] = "idempotency_keys"
    owner: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    fingerprint: str
    transcription_id: str = Field(index=True)
    created_at_ms: int = Field(sa_type=BigInteger)


class ModelList(SQLModel, table=True):
    """Soniox's last known list of models, one row: a restart while Soniox is down still has it."""

    __tablename__: ClassVar[str] = "model_list"
    id: int = Field(primary_key=True)
    fetched_at_ms: int = Field(sa_type=BigInteger)
    body: bytes = Field(sa_type=LargeBinary)


class SonioxCalls(SQLModel, table=True):
    """How many requests to Soniox each second saw, by share: the rate budget of all processes together."""

    __tablename__: ClassVar[str] = "soniox_calls"
    second: int = Field(primary_key=True, sa_type=BigInteger)
    share: str = Field(primary_key=True)
    calls: int


class Sweep(SQLModel, table=True):
    """One run of the reconciler: how many jobs it asked about, with how many calls, and what it found by kind."""

    __tablename__: ClassVar[str] = "sweeps"
    id: str = Field(primary_key=True)
    started_at_ms: int = Field(sa_type=BigInteger, index=True)
    finished_at_ms: int = Field(sa_type=BigInteger)
    by: str
    asked: int = 0
    calls: int = 0
    finds: dict[str, int] = Field(default_factory=dict, sa_type=JSON)
    error: str | None = None


class Office(SQLModel, table=True):
    """A task that one process does for all; whoever holds it must renew it before `until_ms`."""

    __tablename__: ClassVar[str] = "offices"
    name: str = Field(primary_key=True)
    holder: str
    until_ms: int = Field(sa_type=BigInteger)


class Heartbeat(SQLModel, table=True):
    """When a worker, the reconciler or the governor last spoke, and what it said."""

    __tablename__: ClassVar[str] = "heartbeats"
    name: str = Field(primary_key=True)
    at_ms: int = Field(sa_type=BigInteger)
    detail: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)


def table_of(model: type[SQLModel]) -> Table:
    """The SQLAlchemy table behind a model, for `store/`."""
    table: Table = model.__table__  # type: ignore[attr-defined]  # SQLModel adds it when the class is made
    return table
