"""Runs of the reconciler (sweeps), the conditions it checks, and removals at Soniox."""

from collections.abc import Sequence

from sqlalchemy import delete, func, or_, text
from sqlmodel import Session, SQLModel, select

from service.clock import MINUTE_MS
from service.ids import new_id
from service.lifecycle import Stage
from service.store.claims import still_held
from service.store.statements import insert_all
from service.tables import IS_OPEN, Delivery, Removal, Sweep, Transcription, Webhook, table_of

sweeps = table_of(Sweep)
jobs = table_of(Transcription)
removals = table_of(Removal)

KEPT = 1_000
STALLED_AFTER_MS = 5 * MINUTE_MS  # a row that is due for longer counts as stalled
QUEUES: dict[str, type[SQLModel]] = {
    "submit": Transcription,
    "collect": Webhook,
    "deliver": Delivery,
    "cleanup": Removal,
}


def add_run(session: Session, sweep: Sweep) -> None:
    """Insert a sweep, and delete all but the newest `KEPT`."""
    insert_all(session, [sweep])
    kept = select(sweeps.c.started_at_ms).order_by(sweeps.c.started_at_ms.desc()).offset(KEPT).limit(1)
    oldest = session.exec(kept).one_or_none()
    if oldest is not None:
        session.exec(delete(sweeps).where(sweeps.c.started_at_ms <= oldest))


def latest_runs(session: Session, limit: int) -> list[Sweep]:
    """Return the newest sweeps, newest first."""
    query = select(Sweep).order_by(sweeps.c.started_at_ms.desc()).limit(limit)
    return list(session.exec(query))


def is_waiting_for_room(session: Session, now_ms: int) -> bool:
    """Return True when a new transcription is due and not claimed."""
    query = select(jobs.c.id).where(jobs.c.stage == Stage.ACCEPTED, jobs.c.due_at_ms <= now_ms).limit(1)
    return session.exec(query).first() is not None


def stalled(session: Session, now_ms: int, before_ms: int) -> dict[str, int]:
    """Count by queue the rows that have been due since `before_ms` and are not claimed."""
    counts = {}
    for queue, model in QUEUES.items():
        table = table_of(model)
        free = or_(table.c.lease_until_ms.is_(None), table.c.lease_until_ms <= now_ms)
        query = select(func.count()).select_from(table).where(table.c.due_at_ms <= before_ms, free)
        counts[queue] = int(session.exec(query).one())
    return counts


def pending_removals(session: Session) -> tuple[set[str], set[str]]:
    """Return the Soniox ids of transcriptions and of files that have a removal already."""
    rows = session.exec(select(removals.c.soniox_id, removals.c.soniox_file_id)).all()
    return {row[0] for row in rows if row[0]}, {row[1] for row in rows if row[1]}


def files_in_use(session: Session, ids: list[str]) -> set[str]:
    """Return those of the Soniox file ids that an open transcription needs."""
    query = select(jobs.c.soniox_file_id).where(text(IS_OPEN), jobs.c.soniox_file_id.is_not(None))
    return set(session.exec(query)) & set(ids)


def removal_of(
    transcription_id: str,
    soniox_id: str | None,
    soniox_file_id: str | None,
    now_ms: int,
    *,
    unsettled: bool = False,
) -> list[Removal]:
    """Return the removal of a transcription and its file, or an empty list when there is nothing to remove."""
    if soniox_id is None and soniox_file_id is None and not unsettled:
        return []
    row = Removal(
        id=new_id("rem", now_ms),
        transcription_id=transcription_id,
        soniox_id=soniox_id,
        soniox_file_id=soniox_file_id,
        unsettled=unsettled,
        created_at_ms=now_ms,
        due_at_ms=now_ms,
    )
    return [row]


def add_removals(session: Session, rows: Sequence[Removal]) -> None:
    """Insert removals."""
    insert_all(session, rows)


def delete_removals(session: Session, row: Removal) -> None:
    """Delete a removal that is done, unless its claim was lost."""
    session.exec(delete(table_of(Removal)).where(still_held(Removal, row)))
