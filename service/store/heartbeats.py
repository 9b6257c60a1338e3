"""Signs of life."""

from typing import Any

from sqlalchemy import delete
from sqlmodel import Session, select

from service.store.rows import upsert
from service.tables import Heartbeat, table_of

heartbeats = table_of(Heartbeat)

WORKER_SILENT_MS = 30_000  # a worker gives a sign of life every 5 s; after so long it counts as dead


def beat(session: Session, name: str, at_ms: int, detail: dict[str, Any]) -> None:
    """Note that `name` is alive, and what it has to say."""
    insertion = upsert(session, heartbeats).values(name=name, at_ms=at_ms, detail=detail)
    values = {"at_ms": insertion.excluded.at_ms, "detail": insertion.excluded.detail}
    session.exec(insertion.on_conflict_do_update(index_elements=["name"], set_=values))


def all_of(session: Session) -> dict[str, Heartbeat]:
    """All of them by name."""
    rows = list(session.exec(select(Heartbeat)))
    return {row.name: row for row in rows}


def forget_before(session: Session, at_ms: int) -> None:
    """Delete those of processes that are long gone."""
    session.exec(delete(heartbeats).where(heartbeats.c.at_ms < at_ms))
