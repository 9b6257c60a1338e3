"""What the relay uses at Soniox: quotas counted from its own rows, and requests in the rate window."""

from dataclasses import dataclass
from functools import cache

from sqlalchemy import Insert, and_, bindparam, case, delete, func, or_, text, tuple_
from sqlmodel import Session, select

from service.lifecycle import Stage
from service.store.claims import Claimant, claim, is_any_due
from service.store.statements import is_sqlite, upsert_on
from service.tables import IS_OPEN, RateWindow, Removal, Transcription, table_of

jobs = table_of(Transcription)
removals = table_of(Removal)

SHOWS_AFTER_MS = 2_000  # after this time Soniox's listing shows what a worker sent before it died
QUOTA_LOCK = 7_203_002  # PostgreSQL advisory lock, an arbitrary number


@dataclass(frozen=True)
class Quotas:
    """The most of each kind that may be at Soniox at the same time."""

    pending: int
    transcriptions: int
    files: int


@dataclass(frozen=True)
class QuotaUsage:
    """How many of each kind are, or may be, at Soniox now."""

    pending: int
    transcriptions: int
    files: int


_AT_SONIOX = and_(text(IS_OPEN), jobs.c.stage != Stage.ACCEPTED)
_IS_WAITING = and_(_AT_SONIOX, or_(jobs.c.soniox_status.is_(None), jobs.c.soniox_status == "queued"))
_HAS_FILE = and_(_AT_SONIOX, or_(jobs.c.soniox_file_id.is_not(None), jobs.c.file_id.is_not(None)))
_OPEN_JOBS = select(
    func.count().filter(_IS_WAITING).label("pending"),
    func.count().label("transcriptions"),
    func.count().filter(_HAS_FILE).label("files"),
).where(_AT_SONIOX)
_LEAVING = select(
    func.count().filter(or_(removals.c.soniox_id.is_not(None), removals.c.unsettled)).label("transcriptions"),
    func.count().filter(or_(removals.c.soniox_file_id.is_not(None), removals.c.unsettled)).label("files"),
)


def usage(session: Session) -> QuotaUsage:
    """Count what is at Soniox. A transcription whose create is under way counts too."""
    pending, transcriptions, files = session.exec(_OPEN_JOBS).one()
    leaving, leaving_files = session.exec(_LEAVING).one()
    return QuotaUsage(pending, transcriptions + leaving, files + leaving_files)


def claim_submissions(session: Session, quotas: Quotas, claimant: Claimant, limit: int) -> list[Transcription]:
    """Make move b of the lifecycle: claim unsettled transcriptions, then new ones within the quotas."""
    if not is_any_due(session, Transcription, claimant.now_ms):
        return []  # the queue is notified whenever a quota may have room; usually nothing is due
    if not is_sqlite(session):
        session.execute(text(f"SELECT pg_advisory_xact_lock({QUOTA_LOCK})"))
    again = _reclaim(session, claimant, limit)
    now = usage(session)
    room = min(quotas.pending - now.pending, quotas.transcriptions - now.transcriptions, limit - len(again))
    room_for_files = quotas.files - now.files
    if room_for_files > 0:
        room = min(room, room_for_files)
    if room <= 0:
        return again
    new = jobs.c.stage == Stage.ACCEPTED
    chosen = new if room_for_files > 0 else and_(new, jobs.c.file_id.is_(None))
    return again + claim(session, Transcription, claimant, limit=room, where=chosen, stage=Stage.SUBMITTING)


def _reclaim(session: Session, claimant: Claimant, limit: int) -> list[Transcription]:
    """Claim transcriptions whose submission has an unknown outcome.

    `due_at_ms` is set to the end of an expired lease: what its holder did may show only in later listings.
    """
    had_time = or_(jobs.c.lease_until_ms.is_(None), jobs.c.lease_until_ms <= claimant.now_ms - SHOWS_AFTER_MS)
    since_ms = case((jobs.c.lease_until_ms.is_not(None), jobs.c.lease_until_ms), else_=jobs.c.due_at_ms)
    begun = and_(jobs.c.stage == Stage.SUBMITTING, had_time)
    return claim(session, Transcription, claimant, limit=limit, where=begun, unsettled=True, due_at_ms=since_ms)


calls = table_of(RateWindow)

WINDOW_S = 60
DELETE_EVERY_S = 10
RATE_LOCK = 7_203_001  # PostgreSQL advisory lock, an arbitrary number


def try_lock_rate_window(session: Session) -> bool:
    """Let one process at a time count and spend requests. Return False when another one has the lock.

    It never waits: in a transaction shared with other steps, waiting could deadlock. SQLite has one writer.
    """
    return is_sqlite(session) or bool(session.scalar(text(f"SELECT pg_try_advisory_xact_lock({RATE_LOCK})")))


def requests_in_window(session: Session, now_s: int) -> dict[str, int]:
    """Return the number of requests of the last 60 s by traffic class."""
    found = session.exec(_IN_WINDOW, params={"since_s": now_s - WINDOW_S - 1})
    return {traffic_class: int(total) for traffic_class, total in found}


_IN_WINDOW = (
    select(calls.c.traffic_class, func.sum(calls.c.calls))
    .where(calls.c.second > bindparam("since_s"))
    .group_by(calls.c.traffic_class)
)


def count_requests(session: Session, traffic_class: str, now_s: int) -> None:
    """Count a request in this second."""
    session.exec(
        _counting(on_sqlite=is_sqlite(session)),
        params={"second": now_s, "traffic_class": traffic_class, "calls": 1},
    )
    if now_s % DELETE_EVERY_S == 0:
        _delete_old_windows(session, now_s - 2 * WINDOW_S)


@cache
def _counting(*, on_sqlite: bool) -> Insert:
    one_more = {"calls": calls.c.calls + 1}
    fresh = upsert_on(calls, on_sqlite=on_sqlite)
    return fresh.on_conflict_do_update(index_elements=["second", "traffic_class"], set_=one_more)


def _delete_old_windows(session: Session, before_s: int) -> None:
    """Delete seconds that no longer count, except those that another process is deleting."""
    old = (
        select(calls.c.second, calls.c.traffic_class)
        .where(calls.c.second < before_s)
        .with_for_update(skip_locked=True)
    )
    session.exec(delete(calls).where(tuple_(calls.c.second, calls.c.traffic_class).in_(old)))
