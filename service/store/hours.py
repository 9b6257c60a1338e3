"""Hours that are over, counted once and kept: what `history` would count again for every look at a month.

A count is exact or it is not there. Whoever changes a row deletes the counts of its hour in the same transaction:
triggers do, made by revision 0005. What is not there is counted from the rows.
"""

from collections.abc import Iterator
from itertools import pairwise

from sqlalchemy import case, delete, func, text
from sqlmodel import Session, select

from service.clock import HOUR_MS
from service.store.counting import EVERYBODY, Subject, count_hour, interval_of
from service.store.history import Interval, Window
from service.store.rows import is_sqlite, upsert
from service.tables import CountedHour, table_of

counted = table_of(CountedHour)

LOCK = 7_203_003  # names this lock in PostgreSQL, together with the number of the hour; revision 0005 has it too


def ended(session: Session, subject: Subject, window: Window, owner: str | None) -> list[Interval]:
    """What `history` counts in a window; where its intervals are hours long, in parts of an hour each."""
    if window.interval_ms < HOUR_MS:
        return subject.from_rows(session, window, owner)
    found = _kept(session, subject, window, owner)
    missing = [hour for hour in range(window.since_ms, window.now_ms + 1, HOUR_MS) if hour not in found]
    for first_ms, last_ms in _runs(missing):
        until_ms = min(last_ms + HOUR_MS - 1, window.now_ms)
        rest = subject.from_rows(session, Window(first_ms, until_ms, HOUR_MS), owner)
        found |= {interval.since_ms: interval for interval in rest}
    return [found[hour] for hour in sorted(found)]


def uncounted(session: Session, subject: Subject, since_ms: int, until_ms: int) -> list[int]:
    """Hours between the two in which something may have ended and that are not counted, the newest first."""
    created_ms: int | None = session.exec(select(func.min(subject.created))).one()
    if created_ms is None:
        return []
    first_ms = _hour_of(max(since_ms, created_ms))
    there = select(counted.c.hour_ms).where(counted.c.about == subject.about, counted.c.owner == EVERYBODY)
    found = set(session.exec(there.where(counted.c.hour_ms >= first_ms)))
    hours = range(first_ms, _hour_of(until_ms), HOUR_MS)
    return [hour for hour in reversed(hours) if hour not in found]


def count(session: Session, subject: Subject, hour_ms: int) -> bool:
    """Count an hour and keep that; False when somebody else counts it, or changes it, just now."""
    if not _locked(session, hour_ms):
        return False
    owners = count_hour(session, subject, hour_ms)
    hour = {"about": subject.about, "hour_ms": hour_ms}
    rows = [{**hour, "owner": owner, "found": found} for owner, found in owners.items()]
    insertion = upsert(session, counted)
    anew = insertion.on_conflict_do_update(
        index_elements=["about", "owner", "hour_ms"], set_={"found": insertion.excluded.found}
    )
    session.exec(anew, params=rows)
    return True


def forget_before(session: Session, before_ms: int) -> None:
    """No window reaches so far back."""
    session.exec(delete(counted).where(counted.c.hour_ms < before_ms))


def _kept(session: Session, subject: Subject, window: Window, owner: str | None) -> dict[int, Interval]:
    """The counted hours of a window; one in which `owner` has no row is an empty one of theirs."""
    whose = owner or EVERYBODY
    theirs = case((counted.c.owner == whose, counted.c.found))  # of everybody's only the hour, if somebody asks
    query = select(counted.c.owner, counted.c.hour_ms, theirs).where(
        counted.c.about == subject.about,
        counted.c.owner.in_([EVERYBODY, whose]),
        counted.c.hour_ms.between(window.since_ms, window.now_ms),
    )
    rows = session.exec(query).all()
    found = {hour_ms: kinds for _, hour_ms, kinds in rows if kinds}
    hours = [hour_ms for each, hour_ms, _ in rows if each == EVERYBODY]
    return {hour_ms: interval_of(subject, hour_ms, found.get(hour_ms, {})) for hour_ms in hours}


def _runs(hours: list[int]) -> Iterator[tuple[int, int]]:
    """First and last of each unbroken run of hours, which are in order."""
    ends = [before for before, after in pairwise(hours) if after - before > HOUR_MS]
    begins = [after for before, after in pairwise(hours) if after - before > HOUR_MS]
    if hours:
        yield from zip([hours[0], *begins], [*ends, hours[-1]], strict=True)


def _hour_of(at_ms: int) -> int:
    return at_ms - at_ms % HOUR_MS


def _locked(session: Session, hour_ms: int) -> bool:
    """Keep changes of that hour out until the commit. SQLite has one writer anyway."""
    if is_sqlite(session):
        return True
    trying = text(f"SELECT pg_try_advisory_xact_lock({LOCK}, :hour)")
    return bool(session.scalar(trying, {"hour": hour_ms // HOUR_MS}))
