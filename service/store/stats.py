"""How much stands where now: counted over what is open, never over what is finished."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, text
from sqlmodel import Session, select

from service.lifecycle import OPEN_STAGES, Stage
from service.tables import IS_OPEN, Delivery, Removal, Transcription, Webhook, table_of

jobs = table_of(Transcription)
webhooks = table_of(Webhook)
deliveries = table_of(Delivery)
removals = table_of(Removal)

LOOKED_AT = 10_000  # rows of a queue, those next in turn, among which the oldest is looked for

TURN = {Stage.ACCEPTED: "due_at_ms", Stage.SUBMITTING: "due_at_ms", Stage.SUBMITTED: "check_at_ms"}
QUEUES = {
    "collect": (webhooks, webhooks.c.received_at_ms, webhooks.c.job),
    "notify": (deliveries, deliveries.c.created_at_ms, deliveries.c.transcription_id),
    "cleanup": (removals, removals.c.created_at_ms, removals.c.transcription_id),
}


@dataclass(frozen=True)
class Standing:
    """How many stand there, and since when the oldest of them exists; None when there is none."""

    count: int
    oldest_ms: int | None


@dataclass(frozen=True)
class Gauges:
    """How many stand where, now."""

    stages: dict[str, Standing]
    waiting: dict[str, Standing]


def gauges(session: Session) -> Gauges:
    """All there is, for metrics."""
    return Gauges(stages(session, None), queues(session, None))


def stages(session: Session, owner: str | None) -> dict[str, Standing]:
    """Open transcriptions by stage, of `owner`'s or of all."""
    whose = [] if owner is None else [jobs.c.owner == owner]
    by_stage = select(jobs.c.stage, func.count()).where(text(IS_OPEN), *whose).group_by(jobs.c.stage)
    counts = {row[0]: int(row[1]) for row in session.exec(by_stage).all()}
    found = {}
    for stage in OPEN_STAGES:
        turn = jobs.c[TURN[stage]]
        here = [jobs.c.stage == stage, turn.is_not(None), *whose]
        oldest_ms = _oldest(session, jobs.c.created_at_ms, turn, here) if stage in counts else None
        found[str(stage)] = Standing(counts.get(stage, 0), oldest_ms)
    return found


def queues(session: Session, owner: str | None) -> dict[str, Standing]:
    """Rows that wait for a worker by lane; of `owner`'s: those that belong to his transcriptions."""
    found = {}
    for lane, (table, created_at_ms, job_id) in QUEUES.items():
        here: list[ColumnElement[bool]] = [table.c.due_at_ms.is_not(None)]
        if owner is not None:
            here.append(job_id.in_(select(jobs.c.id).where(jobs.c.owner == owner, jobs.c.id == job_id)))
        count = int(session.exec(select(func.count()).select_from(table).where(*here)).one())
        oldest_ms = _oldest(session, created_at_ms, table.c.due_at_ms, here) if count else None
        found[lane] = Standing(count, oldest_ms)
    return found


def _oldest(session: Session, created_at_ms: Any, turn: Any, conditions: list[ColumnElement[bool]]) -> int | None:
    """Exact up to LOOKED_AT rows; of more than that, the oldest of those next in turn."""
    next_ones = select(created_at_ms.label("at_ms")).where(*conditions).order_by(turn).limit(LOOKED_AT).subquery()
    oldest: int | None = session.exec(select(func.min(next_ones.c.at_ms))).one()
    return oldest
