"""Operational tables: API keys, model list, rate window, sweeps, leader leases, heartbeats, hourly rollup."""

from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, Index, LargeBinary
from sqlmodel import Field, SQLModel


class ApiKey(SQLModel, table=True):
    """A caller's API key, stored only as a hash."""

    __tablename__: ClassVar[str] = "api_keys"
    id: str = Field(primary_key=True)
    name: str
    hash: str = Field(unique=True)
    scopes: list[str] = Field(default=[], sa_type=JSON)
    created_at_ms: int = Field(sa_type=BigInteger)
    last_used_at_ms: int | None = Field(default=None, sa_type=BigInteger)
    revoked_at_ms: int | None = Field(default=None, sa_type=BigInteger)


class ModelList(SQLModel, table=True):
    """Soniox's last known list of models, in one row. It survives a restart while Soniox is down."""

    __tablename__: ClassVar[str] = "model_list"
    id: int = Field(primary_key=True)
    fetched_at_ms: int = Field(sa_type=BigInteger)
    body: bytes = Field(sa_type=LargeBinary)


class RateWindow(SQLModel, table=True):
    """Requests to Soniox by second and traffic class: the rate window of all processes together."""

    __tablename__: ClassVar[str] = "rate_window"
    second: int = Field(primary_key=True, sa_type=BigInteger)
    traffic_class: str = Field(primary_key=True)
    calls: int


class Sweep(SQLModel, table=True):
    """One run of the reconciler: jobs checked (`asked`), requests made (`calls`), and findings by kind."""

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
    """A task that one process does for all. The holder must renew the lease before `until_ms`."""

    __tablename__: ClassVar[str] = "leader_leases"
    name: str = Field(primary_key=True)
    holder: str
    until_ms: int = Field(sa_type=BigInteger)


class Heartbeat(SQLModel, table=True):
    """The last heartbeat of a worker, the reconciler or the governor."""

    __tablename__: ClassVar[str] = "heartbeats"
    name: str = Field(primary_key=True)
    at_ms: int = Field(sa_type=BigInteger)
    detail: dict[str, Any] = Field(default={}, sa_type=JSON)


class HourlyRollup(SQLModel, table=True):
    """The results of one hour, counted after its end and deleted when a row of that hour changes.

    Every counted hour has a row for all owners (`owner` empty), even without results. An owner has a row only
    for hours with results. Triggers of revision 0002 delete both.
    """

    __tablename__: ClassVar[str] = "hourly_rollup"
    __table_args__ = (Index("ix_hourly_rollup_hour", "hour_ms"),)
    subject: str = Field(primary_key=True)  # transcriptions, deliveries
    owner: str = Field(primary_key=True)
    hour_ms: int = Field(primary_key=True, sa_type=BigInteger)
    counts: dict[str, Any] = Field(default={}, sa_type=JSON)  # by kind: count, some durations in ms
