"""The inbox: written by the webhook route and the reconciler, claimed by the collect queue."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from sqlalchemy import Insert, case, delete, func
from sqlmodel import Session, select

from service.store import claims
from service.store.claims import Claimant
from service.store.statements import is_sqlite, upsert_on
from service.tables import Transcription, Webhook, table_of

inbox_rows = table_of(Webhook)


class InboxEntry(NamedTuple):
    """A report about a transcription at Soniox. `transcription_id` is empty if the relay did not create it."""

    id: str
    transcription_id: str
    soniox_id: str
    status: str
    source: str  # webhook, reconciler
    at_ms: int


def record(session: Session, hints: list[InboxEntry]) -> Sequence[None]:
    """Insert each entry, or count it as received again. An entry of the reconciler becomes due even if handled.

    There is one row for each transcription id, Soniox id and status.
    """
    session.exec(_upsert(on_sqlite=is_sqlite(session)), params=[_values(hint) for hint in hints])
    return [None] * len(hints)


@cache
def _upsert(*, on_sqlite: bool) -> Insert:
    fresh = upsert_on(inbox_rows, on_sqlite=on_sqlite)
    told = fresh.excluded
    found = told.source == "reconciler"
    return fresh.on_conflict_do_update(
        index_elements=["transcription_id", "soniox_id", "status"],
        set_={
            "receive_count": inbox_rows.c.receive_count + 1,
            "last_seen_at_ms": told.last_seen_at_ms,
            "due_at_ms": case((found, told.due_at_ms), else_=inbox_rows.c.due_at_ms),
            "handled_at_ms": case((found, None), else_=inbox_rows.c.handled_at_ms),
        },
    )


def _values(hint: InboxEntry) -> dict[str, str | int]:
    at_ms = hint.at_ms
    values = {
        "id": hint.id,
        "transcription_id": hint.transcription_id,
        "soniox_id": hint.soniox_id,
        "status": hint.status,
    }
    moments = {"received_at_ms": at_ms, "last_seen_at_ms": at_ms, "due_at_ms": at_ms}
    return {**values, "source": hint.source, **moments, "receive_count": 1, "fence": 0, "tries": 0}


def close(session: Session, row: Webhook, outcome: str, now_ms: int) -> bool:
    """Mark the row handled with its outcome. Return False when the claim was lost."""
    return claims.finish(session, Webhook, row, handled_at_ms=now_ms, outcome=outcome)


def newest_open(session: Session, job: str) -> Webhook | None:
    """Return the newest open row of a transcription."""
    theirs = select(Webhook).where(inbox_rows.c.transcription_id == job, inbox_rows.c.due_at_ms.is_not(None))
    return session.exec(theirs.order_by(inbox_rows.c.last_seen_at_ms.desc()).limit(1)).one_or_none()


def page(session: Session, before_id: str | None, limit: int) -> list[Webhook]:
    """Return one page, newest first, plus one row if there is a next page. Ids follow the order of arrival."""
    older = [] if before_id is None else [inbox_rows.c.id < before_id]
    query = select(Webhook).where(*older).order_by(inbox_rows.c.id.desc()).limit(limit + 1)
    return list(session.exec(query))


def count_open(session: Session) -> int:
    """Count the open rows."""
    query = select(func.count()).where(inbox_rows.c.due_at_ms.is_not(None))
    return int(session.exec(query).one())


def delete_of(session: Session, job: str) -> None:
    """Delete the rows of a transcription."""
    session.exec(delete(inbox_rows).where(inbox_rows.c.transcription_id == job))


jobs = table_of(Transcription)


class ClaimedEntry(NamedTuple):
    """A row of the inbox with its transcription at the time of the claim; `job` is None when there is none."""

    row: Webhook
    job: Transcription | None

    @property
    def id(self) -> str:
        return self.row.id

    @property
    def due_at_ms(self) -> int | None:
        return self.row.due_at_ms

    @property
    def fence(self) -> int:
        return self.row.fence

    @property
    def tries(self) -> int:
        return self.row.tries


def claim(session: Session, claimant: Claimant, limit: int) -> list[ClaimedEntry]:
    """Claim the longest due rows, each with its transcription: by the id it names, else by the Soniox id."""
    rows = claims.claim(session, Webhook, claimant, limit=limit)
    named = {
        job.id: job for job in _jobs(session, "id", [row.transcription_id for row in rows if row.transcription_id])
    }
    unnamed = [row.soniox_id for row in rows if not row.transcription_id]
    known = {job.soniox_id: job for job in _jobs(session, "soniox_id", unnamed)}
    return [
        ClaimedEntry(row, named.get(row.transcription_id) if row.transcription_id else known.get(row.soniox_id))
        for row in rows
    ]


def _jobs(session: Session, column: str, values: Sequence[str]) -> Sequence[Transcription]:
    if not values:
        return []
    return session.exec(select(Transcription).where(jobs.c[column].in_(values))).all()
