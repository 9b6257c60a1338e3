"""How receivers are doing: failures in a row, and until when nothing is sent. All workers read and write here."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, update
from sqlmodel import Session

from service.store.rows import upsert
from service.tables import Receiver, table_of

receivers = table_of(Receiver)

HEALTHY = {"failures": 0, "failing_since_ms": None, "closed_until_ms": None}


@dataclass(frozen=True, order=True)
class Failure:
    """A try that failed, and until when nothing more is sent to this receiver; None: no need to wait."""

    receiver: str
    at_ms: int
    closed_until_ms: int | None = None


def count_failures(session: Session, failures: Sequence[Failure]) -> None:
    """Raise the counts, always in the order of ids, so that two workers cannot lock each other out."""
    if not failures:
        return
    fresh = upsert(session, receivers)
    statement = fresh.on_conflict_do_update(
        index_elements=[receivers.c.id],
        set_={
            "failures": receivers.c.failures + 1,
            "failing_since_ms": func.coalesce(receivers.c.failing_since_ms, fresh.excluded.failing_since_ms),
            "closed_until_ms": fresh.excluded.closed_until_ms,
        },
    )
    rows = [
        {
            "id": failure.receiver,
            "failures": 1,
            "failing_since_ms": failure.at_ms,
            "closed_until_ms": failure.closed_until_ms,
            "paid_until_ms": 0,
        }
        for failure in sorted(failures, key=lambda failure: failure.receiver)
    ]
    session.exec(statement, params=rows)


def mark_healthy(session: Session, ids: Sequence[str]) -> None:
    """They took something, or somebody says that they will."""
    if ids:
        session.exec(update(receivers).where(receivers.c.id.in_(sorted(ids))).values(**HEALTHY))


def open_again(session: Session, receiver: str) -> None:
    """Let the next delivery through now, whatever happened before."""
    session.exec(update(receivers).where(receivers.c.id == receiver).values(closed_until_ms=None))


def forget(session: Session, receiver: str) -> None:
    """Delete one."""
    session.exec(delete(receivers).where(receivers.c.id == receiver))
