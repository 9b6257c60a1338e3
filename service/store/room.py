"""What the relay holds at Soniox, counted from its own rows, and the claim that stays within the quotas."""

from dataclasses import dataclass

from sqlalchemy import and_, case, func, or_, text
from sqlmodel import Session, select

from service.lifecycle import Stage
from service.store.claims import Claimant, claim, is_any_due
from service.store.rows import is_sqlite
from service.tables import IS_OPEN, Removal, Transcription, table_of

jobs = table_of(Transcription)
removals = table_of(Removal)

SHOWS_AFTER_MS = 2_000  # what a worker sent before it died is in Soniox's listing by then
LOCK = 7_203_002  # an arbitrary number that names this lock in PostgreSQL


@dataclass(frozen=True)
class Quotas:
    """Most of each kind at Soniox at once."""

    pending: int
    transcriptions: int
    files: int


@dataclass(frozen=True)
class Held:
    """How many of each kind lie at Soniox now, or may."""

    pending: int
    transcriptions: int
    files: int


_AT_SONIOX = and_(text(IS_OPEN), jobs.c.stage != Stage.ACCEPTED)
_WAITS = and_(_AT_SONIOX, or_(jobs.c.soniox_status.is_(None), jobs.c.soniox_status == "queued"))
_HAS_FILE = and_(_AT_SONIOX, or_(jobs.c.soniox_file_id.is_not(None), jobs.c.file_id.is_not(None)))
_OPEN_JOBS = select(
    func.count().filter(_WAITS).label("pending"),
    func.count().label("transcriptions"),
    func.count().filter(_HAS_FILE).label("files"),
).where(_AT_SONIOX)
_LEAVING = select(
    func.count().filter(or_(removals.c.soniox_id.is_not(None), removals.c.unsettled)).label("transcriptions"),
    func.count().filter(or_(removals.c.soniox_file_id.is_not(None), removals.c.unsettled)).label("files"),
)


def held(session: Session) -> Held:
    """Count; a job whose create is under way counts as there."""
    pending, transcriptions, files = session.exec(_OPEN_JOBS).one()
    leaving, leaving_files = session.exec(_LEAVING).one()
    return Held(pending, transcriptions + leaving, files + leaving_files)


def claim_submissions(session: Session, quotas: Quotas, claimant: Claimant, limit: int) -> list[Transcription]:
    """Move b: first those whose outcome must be settled, then new ones as far as there is room at Soniox."""
    if not is_any_due(session, Transcription, claimant.now_ms):
        return []  # the lane is rung whenever room may have been made; mostly nothing waits for it
    if not is_sqlite(session):
        session.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
    again = _claim_again(session, claimant, limit)
    now = held(session)
    room = min(quotas.pending - now.pending, quotas.transcriptions - now.transcriptions, limit - len(again))
    room_for_files = quotas.files - now.files
    if room_for_files > 0:
        room = min(room, room_for_files)
    if room <= 0:
        return again
    new = jobs.c.stage == Stage.ACCEPTED
    chosen = new if room_for_files > 0 else and_(new, jobs.c.file_id.is_(None))
    return again + claim(session, Transcription, claimant, limit=room, where=chosen, stage=Stage.SUBMITTING)


def _claim_again(session: Session, claimant: Claimant, limit: int) -> list[Transcription]:
    """Those whose outcome must be settled.

    A lease that ended unfinished: what its holder did may show only in a listing made after that.
    """
    had_time = or_(jobs.c.lease_until_ms.is_(None), jobs.c.lease_until_ms <= claimant.now_ms - SHOWS_AFTER_MS)
    since_ms = case((jobs.c.lease_until_ms.is_not(None), jobs.c.lease_until_ms), else_=jobs.c.due_at_ms)
    begun = and_(jobs.c.stage == Stage.SUBMITTING, had_time)
    return claim(session, Transcription, claimant, limit=limit, where=begun, unsettled=True, due_at_ms=since_ms)
