"""What the service keeps about itself: keys, the budget at Soniox, sweeps, signs of life, counted hours."""

from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, Index, LargeBinary
from sqlmodel import Field, SQLModel


class ApiKey(SQLModel, table=True):
    """A caller's key, known only by its hash."""

    __tablename__: ClassVar[str] = "api_keys"
    id: str = Field(primary_key=True)
    name: str
    hash: str = Field(unique=True)
    scopes: list[str] = Field(default=[], sa_type=JSON)
    created_at_ms: int = Field(sa_type=BigInteger)
    last_used_at_ms: int | None = Field(default=None, sa_type=BigInteger)
    revoked_at_ms: int | None = Field(default=None, sa_type=BigInteger)


class ModelList(SQLModel, table=True):
    """Soniox's last known list of models, one row: a restart while Soniox is down still has it."""

    __tablename__: ClassVar[str] = "model_list"
    id: int = Field(primary_key=True)
    fetched_at_ms: int = Field(sa_type=BigInteger)
    body: bytes = Field(sa_type=LargeBinary)


class RateWindow(SQLModel, table=True):
    """How many requests to Soniox each second saw, by traffic_class: the rate budget of all processes together."""

    __tablename__: ClassVar[str] = "rate_window"
    second: int = Field(primary_key=True, sa_type=BigInteger)
    traffic_class: str = Field(primary_key=True)
    calls: int


class Sweep(SQLModel, table=True):
    """One run of the reconciler: how many jobs it asked about, with how many calls, and what it found by kind."""

    __tablename__: ClassVar[str] = "sweeps"
    id: str = Field(primary_key=True)
    started_at_ms: int = Field(sa_type=BigInteger, index=True)
    finished_at_ms: int = Field(sa_type=BigInteger)
    leader: str
    asked: int = 0
    calls: int = 0
    findings: dict[str, int] = Field(default={}, sa_type=JSON)
    error: str | None = None


class LeaderLease(SQLModel, table=True):
    """A task that one process does for all; whoever holds it must renew it before `until_ms`."""

    __tablename__: ClassVar[str] = "leader_leases"
    name: str = Field(primary_key=True)
    holder: str
    until_ms: int = Field(sa_type=BigInteger)


class Heartbeat(SQLModel, table=True):
    """When a worker, the reconciler or the governor last spoke, and what it said."""

    __tablename__: ClassVar[str] = "heartbeats"
    name: str = Field(primary_key=True)
    at_ms: int = Field(sa_type=BigInteger)
    detail: dict[str, Any] = Field(default={}, sa_type=JSON)


class HourlyRollup(SQLModel, table=True):
    """What became of one hour, counted when it was over; gone again as soon as a row of that hour changes.

    The hour of everybody (`owner` empty) is there for every hour that is counted, also when nothing happened; that
    of one owner only when something of theirs did. Triggers made by revision 0002 delete both.
    """

    __tablename__: ClassVar[str] = "hourly_rollup"
    __table_args__ = (Index("ix_hourly_rollup_hour", "hour_ms"),)
    subject: str = Field(primary_key=True)  # transcriptions, deliveries
    owner: str = Field(primary_key=True)
    hour_ms: int = Field(primary_key=True, sa_type=BigInteger)
    counts: dict[str, Any] = Field(default={}, sa_type=JSON)  # by kind: how many, some durations in ms
