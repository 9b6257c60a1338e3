"""State shared by all processes: heartbeats, leader leases, the change marker, the model list."""

from typing import Any

from sqlalchemy import delete, func, or_
from sqlmodel import Session, select

from service.store.statements import upsert, values_of
from service.tables import Attempt, Heartbeat, LeaderLease, ModelList, Sweep, TimelineEntry, Webhook, table_of

heartbeats = table_of(Heartbeat)

RECONCILER = "reconciler"  # name of its heartbeat and of its leader lease
WORKER_SILENT_MS = 30_000  # a worker sends a heartbeat every 5 s; without one for this long it counts as dead


def record_heartbeat(session: Session, name: str, at_ms: int, detail: dict[str, Any]) -> None:
    """Insert or update the heartbeat of `name`."""
    insertion = upsert(session, heartbeats).values(name=name, at_ms=at_ms, detail=detail)
    values = {"at_ms": insertion.excluded.at_ms, "detail": insertion.excluded.detail}
    session.exec(insertion.on_conflict_do_update(index_elements=["name"], set_=values))


def heartbeats_of(session: Session) -> dict[str, Heartbeat]:
    """Return all heartbeats by name."""
    rows = list(session.exec(select(Heartbeat)))
    return {row.name: row for row in rows}


def delete_heartbeats_before(session: Session, at_ms: int) -> None:
    """Delete heartbeats older than `at_ms`, left by stopped processes."""
    session.exec(delete(heartbeats).where(heartbeats.c.at_ms < at_ms))


leader_leases = table_of(LeaderLease)


def acquire_leader_lease(session: Session, name: str, holder: str, *, now_ms: int, until_ms: int) -> bool:
    """Acquire or renew a leader lease. Return False while another holder has it."""
    insertion = upsert(session, leader_leases).values(name=name, holder=holder, until_ms=until_ms)
    free = or_(leader_leases.c.holder == holder, leader_leases.c.until_ms <= now_ms)
    values = {"holder": holder, "until_ms": until_ms}
    statement = insertion.on_conflict_do_update(index_elements=["name"], set_=values, where=free)
    return session.exec(statement).rowcount == 1


def leader_lease(session: Session, name: str) -> LeaderLease | None:
    """Return the leader lease `name`, or None."""
    return session.exec(select(LeaderLease).where(leader_leases.c.name == name)).one_or_none()


COLUMNS = (
    table_of(TimelineEntry).c.id,
    table_of(Attempt).c.id,
    table_of(Webhook).c.id,
    table_of(Sweep).c.started_at_ms,
)


def change_marker(session: Session) -> tuple[object, ...]:
    """Return a tuple that changes with every new row of COLUMNS. Each value is the last entry of an index."""
    query = select(*[select(func.max(column)).scalar_subquery() for column in COLUMNS])
    return tuple(session.exec(query).one())


lists = table_of(ModelList)

ONLY = 1


def model_list(session: Session) -> ModelList | None:
    """Return the stored model list, or None."""
    return session.exec(select(ModelList)).one_or_none()


def store_model_list(session: Session, heard: ModelList) -> None:
    """Insert or replace the model list."""
    told = {"fetched_at_ms": heard.fetched_at_ms, "body": heard.body}
    statement = upsert(session, lists).values(**values_of(heard))
    session.exec(statement.on_conflict_do_update(index_elements=[lists.c.id], set_=told))
