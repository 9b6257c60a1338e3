"""The inbox: written by the webhook route and by the reconciler, claimed by the collect stage."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from sqlalchemy import Insert, case, delete, func
from sqlmodel import Session, select

from service.store import claims
from service.store.rows import is_sqlite, upsert_on
from service.tables import Webhook, table_of

webhooks = table_of(Webhook)


class Hint(NamedTuple):
    """What somebody says about a transcription at Soniox; `job` is empty for one that the relay did not create."""

    id: str
    job: str
    soniox_id: str
    status: str
    source: str  # webhook, reconciler
    at_ms: int


def record(session: Session, hints: list[Hint]) -> Sequence[None]:
    """Insert each, or count it as seen again. What the reconciler finds becomes due again even if handled.

    There is one row for a job, an id at Soniox and a status.
    """
    session.exec(_recording(on_sqlite=is_sqlite(session)), params=[_row(hint) for hint in hints])
    return [None] * len(hints)


@cache
def _recording(*, on_sqlite: bool) -> Insert:
    fresh = upsert_on(webhooks, on_sqlite=on_sqlite)
    told = fresh.excluded
    found = told.source == "reconciler"
    return fresh.on_conflict_do_update(
        index_elements=["job", "soniox_id", "status"],
        set_={
            "seen": webhooks.c.seen + 1,
            "last_seen_at_ms": told.last_seen_at_ms,
            "due_at_ms": case((found, told.due_at_ms), else_=webhooks.c.due_at_ms),
            "handled_at_ms": case((found, None), else_=webhooks.c.handled_at_ms),
        },
    )


def _row(hint: Hint) -> dict[str, str | int]:
    at_ms = hint.at_ms
    values = {"id": hint.id, "job": hint.job, "soniox_id": hint.soniox_id, "status": hint.status}
    moments = {"received_at_ms": at_ms, "last_seen_at_ms": at_ms, "due_at_ms": at_ms}
    return {**values, "source": hint.source, **moments, "seen": 1, "fence": 0, "tries": 0}


def handle(session: Session, row: Webhook, outcome: str, now_ms: int) -> bool:
    """Close the row with what came of it; False when the claim was lost."""
    return claims.finish(session, Webhook, row, handled_at_ms=now_ms, outcome=outcome)


def unhandled(session: Session, job: str) -> Webhook | None:
    """What was said last about one transcription and is not handled yet."""
    theirs = select(Webhook).where(webhooks.c.job == job, webhooks.c.due_at_ms.is_not(None))
    return session.exec(theirs.order_by(webhooks.c.last_seen_at_ms.desc()).limit(1)).one_or_none()


def page_of(session: Session, before_id: str | None, limit: int) -> list[Webhook]:
    """The newest first, and one more row if there is a next page: ids are in the order in which rows came."""
    older = [] if before_id is None else [webhooks.c.id < before_id]
    query = select(Webhook).where(*older).order_by(webhooks.c.id.desc()).limit(limit + 1)
    return list(session.exec(query))


def waiting(session: Session) -> int:
    """How many are not handled yet."""
    query = select(func.count()).where(webhooks.c.due_at_ms.is_not(None))
    return int(session.exec(query).one())


def forget(session: Session, job: str) -> None:
    """Delete what was said about one transcription."""
    session.exec(delete(webhooks).where(webhooks.c.job == job))
