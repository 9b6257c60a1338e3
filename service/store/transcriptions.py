"""Transcriptions: one function per move of the lifecycle (`service/lifecycle.py`), and reads by id."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import ColumnElement, bindparam, delete, func, update
from sqlmodel import Session, select

from service.lifecycle import Stage, sources_of
from service.store.claims import DONE, FREE, postpone, still_held
from service.store.statements import changed, insert_all, upsert, values_of
from service.tables import IdempotencyKey, Transcription, table_of

jobs = table_of(Transcription)
keys = table_of(IdempotencyKey)

BEING_SUBMITTED = jobs.c.stage == Stage.SUBMITTING


def accept(session: Session, rows: list[Transcription]) -> Sequence[None]:
    """Make move a for a batch of new transcriptions."""
    insert_all(session, rows)
    return [None] * len(rows)


def get(session: Session, transcription_id: str, owner: str | None) -> Transcription | None:
    """Return a transcription of `owner`, or of any owner for None."""
    query = select(Transcription).where(jobs.c.id == transcription_id)
    return session.exec(query if owner is None else query.where(jobs.c.owner == owner)).one_or_none()


def with_soniox_id(session: Session, soniox_id: str) -> Transcription | None:
    """Return the transcription with this Soniox id."""
    query = select(Transcription).where(jobs.c.soniox_id == soniox_id).limit(1)
    return session.exec(query).one_or_none()


def mark_submitted(session: Session, job: Transcription, soniox_id: str, *, now_ms: int, check_at_ms: int) -> bool:
    """Make move c. The first Soniox id of an attempt wins; return False when it is another one.

    The fence is not checked: Soniox has the transcription even if the claim that created it was lost.
    """
    values: dict[str, Any] = {
        "stage": Stage.SUBMITTED,
        "soniox_id": soniox_id,
        "soniox_status": "queued",
        "unsettled": False,
    }
    values |= {"submitted_at_ms": now_ms, "check_at_ms": check_at_ms, "fence": jobs.c.fence + 1, **DONE}
    waiting = jobs.c.soniox_id.is_(None) & jobs.c.stage.in_(sources_of(Stage.SUBMITTED))
    mine = (jobs.c.id == job.id) & (jobs.c.attempt == job.attempt) & waiting
    if session.exec(update(jobs).where(mine).values(**values)).rowcount == 1:
        return True
    return bool(session.exec(_count(jobs.c.id == job.id, jobs.c.soniox_id == soniox_id)).one())


def is_held(session: Session, job: Transcription) -> bool:
    """Return True while this claim may submit the row: it is not finished and has no newer claim."""
    mine = still_held(Transcription, job) & BEING_SUBMITTED
    return bool(session.exec(_count(mine)).one())


def mark_uploaded(session: Session, job: Transcription, soniox_file_id: str) -> bool:
    """Store the id of the file at Soniox. Return False when the claim was lost."""
    values = {"soniox_file_id": soniox_file_id, "unsettled": False}
    mine = still_held(Transcription, job) & BEING_SUBMITTED
    return session.exec(update(jobs).where(mine).values(**values)).rowcount == 1


def mark_waiting(session: Session, job: Transcription, *, due_at_ms: int, error: str, spend_try: bool) -> bool:
    """Make move d: nothing reached Soniox. Return False when the claim was lost."""
    return postpone(
        session,
        Transcription,
        job,
        due_at_ms=due_at_ms,
        error=error,
        spend_try=spend_try,
        where=BEING_SUBMITTED,
        stage=Stage.ACCEPTED,
        unsettled=False,
    )


def mark_unsettled(session: Session, job: Transcription, *, due_at_ms: int, error: str) -> bool:
    """Stay submitting; check the last call's outcome at `due_at_ms`. Return False when the claim was lost."""
    again: dict[str, Any] = {"due_at_ms": due_at_ms, "error": error, "unsettled": True}
    return postpone(session, Transcription, job, where=BEING_SUBMITTED, **again)


@dataclass(frozen=True)
class Seen:
    """The state of a submitted transcription at Soniox, and when to check it again."""

    transcription_id: str
    soniox_id: str | None
    status: str
    audio_duration_ms: int | None
    webhook_status_code: int | None
    check_at_ms: int


def mark_seen(session: Session, seen: Sequence[Seen]) -> None:
    """Store what Soniox reported, for transcriptions that are still submitted under the same Soniox id."""
    if not seen:
        return
    same = (jobs.c.id == bindparam("seen_id")) & (jobs.c.soniox_id == bindparam("seen_soniox_id"))
    theirs = same & (jobs.c.stage == Stage.SUBMITTED)
    columns = ("soniox_status", "audio_duration_ms", "webhook_status_code", "check_at_ms")
    statement = update(jobs).where(theirs).values({name: bindparam(f"seen_{name}") for name in columns})
    session.exec(statement, params=[_seen_parameters(one) for one in seen])


def _seen_parameters(seen: Seen) -> dict[str, Any]:
    return {
        "seen_id": seen.transcription_id,
        "seen_soniox_id": seen.soniox_id,
        "seen_soniox_status": seen.status,
        "seen_audio_duration_ms": seen.audio_duration_ms,
        "seen_webhook_status_code": seen.webhook_status_code,
        "seen_check_at_ms": seen.check_at_ms,
    }


def mark_called_back(session: Session, transcription_id: str, status_code: int) -> None:
    """Store the status code that the caller's own `webhook_url` answered."""
    called = update(jobs).where(jobs.c.id == transcription_id)
    session.exec(called.values(callback_status_code=status_code))


def mark_for_another_attempt(session: Session, job: Transcription, now_ms: int) -> bool:
    """Make move h. Return False when the attempt is not the newest or has not failed."""
    past = [*job.past_soniox_ids, job.soniox_id] if job.soniox_id else job.past_soniox_ids
    values = {
        "stage": Stage.ACCEPTED,
        "attempt": job.attempt + 1,
        "past_soniox_ids": past,
        "due_at_ms": now_ms,
        **FREE,
    }
    values |= dict.fromkeys(("soniox_id", "soniox_file_id", "soniox_status", "error_type", "error_message"))
    values |= dict.fromkeys(("submitted_at_ms", "finished_at_ms", "learned_from", "webhook_status_code"))
    failed = (jobs.c.id == job.id) & (jobs.c.stage == Stage.FAILED) & (jobs.c.attempt == job.attempt)
    return session.exec(update(jobs).where(failed).values(tries=0, last_error=None, **values)).rowcount == 1


def remove(
    session: Session,
    transcription_id: str,
    stages: Sequence[Stage] = tuple(Stage),
    attempt: int | None = None,
) -> Transcription | None:
    """Delete the row if it is in one of `stages` and at this `attempt`. Return the deleted row, or None."""
    wanted = [jobs.c.id == transcription_id, jobs.c.stage.in_(stages)]
    wanted += [] if attempt is None else [jobs.c.attempt == attempt]
    gone = delete(Transcription).where(*wanted).returning(Transcription)
    removed = changed(session, gone).one_or_none()
    if removed is not None:
        session.exec(delete(keys).where(keys.c.transcription_id == transcription_id))
    return removed


def silent(session: Session, before_ms: int, limit: int) -> list[Transcription]:
    """Return submitted transcriptions whose check was due before `before_ms`, the longest overdue first."""
    overdue = (jobs.c.stage == Stage.SUBMITTED) & (jobs.c.check_at_ms <= before_ms)
    query = select(Transcription).where(overdue).order_by(jobs.c.check_at_ms).limit(limit)
    return list(session.exec(query))


def stages_of(session: Session, ids: Sequence[str]) -> dict[str, tuple[str, str | None]]:
    """Return (stage, soniox_id) by id, for ids that exist."""
    found: dict[str, tuple[str, str | None]] = {}
    for start in range(0, len(ids), 1000):
        query = select(jobs.c.id, jobs.c.stage, jobs.c.soniox_id).where(jobs.c.id.in_(ids[start : start + 1000]))
        found |= {row_id: (stage, soniox_id) for row_id, stage, soniox_id in session.exec(query)}
    return found


def remember_key(session: Session, key: IdempotencyKey) -> IdempotencyKey | None:
    """Insert an idempotency key. If it exists, return the first one, even a concurrent one; else None."""
    inserted = upsert(session, keys).values(**values_of(key)).on_conflict_do_nothing()
    if session.exec(inserted).rowcount == 1:
        return None
    first = select(IdempotencyKey).where(keys.c.owner == key.owner, keys.c.key == key.key)
    return session.exec(first).one_or_none()


def _count(*conditions: ColumnElement[bool]) -> Any:
    return select(func.count()).select_from(jobs).where(*conditions)


@dataclass(frozen=True)
class JobResult:
    """The end of one attempt. None leaves a column unchanged."""

    transcription_id: str
    attempt: int
    stage: Stage
    finished_at_ms: int
    learned_from: str
    soniox_id: str | None = None
    soniox_status: str | None = None
    audio_duration_ms: int | None = None
    webhook_status_code: int | None = None
    model: str | None = None
    error_type: str | None = None
    error_message: str | None = None


def mark_finished(session: Session, ending: JobResult) -> Transcription | None:
    """Make move e, f or g. Return the updated row, or None when the attempt is already finished or was deleted.

    The fence is raised, so a worker that still holds the row loses its claim.
    """
    told = {name: value for name, value in asdict(ending).items() if value is not None}
    attempt = (jobs.c.id == told.pop("transcription_id")) & (jobs.c.attempt == told.pop("attempt"))
    open_one = attempt & jobs.c.stage.in_(sources_of(ending.stage))
    done = {**told, **DONE, "check_at_ms": None, "unsettled": False, "fence": jobs.c.fence + 1}
    statement = update(Transcription).where(open_one).values(**done).returning(Transcription)
    return changed(session, statement).one_or_none()
