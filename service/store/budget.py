"""The rate budget at Soniox: how many requests each second of the last minute saw, for all processes together."""

from functools import cache

from sqlalchemy import Insert, bindparam, delete, func, text, tuple_
from sqlmodel import Session, select

from service.store.rows import is_sqlite, upsert_on
from service.tables import SonioxCalls, table_of

calls = table_of(SonioxCalls)

WINDOW_S = 60
FORGET_EVERY_S = 10
LOCK = 7_203_001  # an arbitrary number that names this lock in PostgreSQL


def try_lock(session: Session) -> bool:
    """Let one process at a time count and spend; SQLite has one writer anyway.

    Nobody waits for the lock: in a transaction that others share, two processes could wait for each other.
    """
    return is_sqlite(session) or bool(session.scalar(text(f"SELECT pg_try_advisory_xact_lock({LOCK})")))


def used(session: Session, now_s: int) -> dict[str, int]:
    """Requests of the last 60 s by share."""
    found = session.exec(_USED, params={"since_s": now_s - WINDOW_S - 1})
    return {share: int(total) for share, total in found}


_USED = (
    select(calls.c.share, func.sum(calls.c.calls))
    .where(calls.c.second > bindparam("since_s"))
    .group_by(calls.c.share)
)


def spend(session: Session, share: str, now_s: int) -> None:
    """Note a request in this second."""
    session.exec(_spending(on_sqlite=is_sqlite(session)), params={"second": now_s, "share": share, "calls": 1})
    if now_s % FORGET_EVERY_S == 0:
        _forget(session, now_s - 2 * WINDOW_S)


@cache
def _spending(*, on_sqlite: bool) -> Insert:
    one_more = {"calls": calls.c.calls + 1}
    fresh = upsert_on(calls, on_sqlite=on_sqlite)
    return fresh.on_conflict_do_update(index_elements=["second", "share"], set_=one_more)


def _forget(session: Session, before_s: int) -> None:
    """Delete what no longer counts; what another process just deletes is not waited for."""
    old = select(calls.c.second, calls.c.share).where(calls.c.second < before_s).with_for_update(skip_locked=True)
    session.exec(delete(calls).where(tuple_(calls.c.second, calls.c.share).in_(old)))
