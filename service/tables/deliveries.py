"""Events, endpoints, receivers, deliveries with their attempts, and recoveries."""

from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, CheckConstraint, Column, Index, LargeBinary
from sqlmodel import Field, SQLModel

from service.lifecycle import DeliveryStatus
from service.tables.base import IS_SETTLED, NOT_DELIVERED, SERIAL, QueueColumns, due, one_of, partial


class Event(SQLModel, table=True):
    """An entry of the event log. `body` is the JSON document that is sent and signed.

    Readers follow the log in order of (`xact`, `seq`), see `store/events.py`. Without AUTOINCREMENT SQLite
    would reuse the number of a deleted last event, and a reader at that position would miss the new event.
    """

    __tablename__: ClassVar[str] = "events"
    __table_args__ = (
        Index("uq_events_id", "id", unique=True),
        Index("ix_events_order", "xact", "seq"),
        {"sqlite_autoincrement": True},
    )
    seq: int | None = Field(default=None, sa_column=Column(SERIAL, primary_key=True))
    xact: int = Field(default=0, sa_type=BigInteger)  # PostgreSQL's transaction id, 0 on SQLite
    id: str
    type: str
    owner: str
    transcription_id: str | None = Field(default=None, index=True)
    created_at_ms: int = Field(sa_type=BigInteger)
    body: bytes = Field(sa_type=LargeBinary)
    traceparent: str | None = None  # W3C trace context of the step that the event reports


class Endpoint(SQLModel, table=True):
    """A downstream subscriber to events."""

    __tablename__: ClassVar[str] = "endpoints"
    id: str = Field(primary_key=True)
    owner: str = Field(index=True)
    sees_all: bool = False  # created with an admin key: gets the events of every owner
    url: str
    event_types: list[str] = Field(default=[], sa_type=JSON)  # empty: all
    include: str = "none"
    enabled: bool = True
    disabled_at_ms: int | None = Field(default=None, sa_type=BigInteger)
    disabled_reason: str | None = None  # None: the caller disabled it
    description: str | None = None
    rate_per_s: float | None = None
    max_in_flight: int = 10
    headers_encrypted: str | None = None  # JSON object of the caller's own headers
    secret_encrypted: str
    previous_secrets: list[dict[str, Any]] = Field(default=[], sa_type=JSON)  # {"sealed", "until_ms"}
    created_at_ms: int = Field(sa_type=BigInteger)


class Receiver(SQLModel, table=True):
    """The health of one receiver, shared by all workers. `id` is an endpoint's, or names a callback's server.

    A receiver without a row is healthy and has no rate.
    """

    __tablename__: ClassVar[str] = "receivers"
    id: str = Field(primary_key=True)
    failures: int = 0  # in a row
    failing_since_ms: int | None = Field(default=None, sa_type=BigInteger)
    circuit_open_until_ms: int | None = Field(default=None, sa_type=BigInteger)  # nothing is sent before
    rate_spent_until_ms: int = Field(default=0, sa_type=BigInteger)  # its rate is spent up to this time


class Delivery(QueueColumns, table=True):
    """One event for one receiver: an endpoint, or the caller's own `webhook_url`.

    A pending delivery that is not due is held: its endpoint is disabled.
    """

    __tablename__: ClassVar[str] = "deliveries"
    __table_args__ = (
        CheckConstraint(one_of("status", tuple(DeliveryStatus)), name="ck_deliveries_status"),
        due("deliveries"),
        partial("ix_deliveries_turn", "due_at_ms IS NOT NULL", "receiver", "due_at_ms", "id"),
        Index("ix_deliveries_endpoint", "endpoint_id", "created_at_ms", "id"),
        Index("ix_deliveries_created", "created_at_ms", "id"),
        partial("ix_deliveries_settled", IS_SETTLED, *("status", "created_at_ms", "owner", "delivered_at_ms")),
        Index("ix_deliveries_owner", "owner", "created_at_ms", "id"),
        partial("ix_deliveries_undelivered", NOT_DELIVERED, "status", "created_at_ms", "id"),
    )
    id: str = Field(primary_key=True)
    event_id: str = Field(index=True)
    owner: str
    transcription_id: str | None = Field(default=None, index=True)
    endpoint_id: str | None = None  # None: the caller's own webhook_url
    receiver: str  # `Receiver.id`: decides the fair share, health and rate
    status: str = DeliveryStatus.PENDING
    created_at_ms: int = Field(sa_type=BigInteger)
    delivered_at_ms: int | None = Field(default=None, sa_type=BigInteger)


class Attempt(SQLModel, table=True):
    """One attempt of a delivery and its outcome."""

    __tablename__: ClassVar[str] = "attempts"
    id: int | None = Field(default=None, sa_column=Column(SERIAL, primary_key=True))
    delivery_id: str = Field(index=True)
    at_ms: int = Field(sa_type=BigInteger)
    duration_ms: int
    status_code: int | None = None
    error: str | None = None
    answer: bytes = Field(default=b"", sa_type=LargeBinary)  # the first bytes of the response


class Recovery(QueueColumns, table=True):
    """An order to resend what an endpoint did not accept since a time. A claim runs its next batch.

    `at_created_ms` and `at_id` are the position: the last delivery of the previous batch.
    """

    __tablename__: ClassVar[str] = "recoveries"
    __table_args__ = (due("recoveries"),)
    id: str = Field(primary_key=True)
    endpoint_id: str = Field(index=True)
    since_ms: int = Field(sa_type=BigInteger)
    until_ms: int = Field(sa_type=BigInteger)
    expected: int  # number of deliveries when the recovery was created
    recovered: int = 0
    at_created_ms: int = Field(sa_type=BigInteger)
    at_id: str = ""
    created_at_ms: int = Field(sa_type=BigInteger)
    finished_at_ms: int | None = Field(default=None, sa_type=BigInteger)
