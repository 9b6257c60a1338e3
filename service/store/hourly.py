"""The hourly rollup: results of each hour, counted once and stored."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from sqlalchemy import BigInteger, Column, TextClause, bindparam, case, delete, func, text
from sqlmodel import Session, select

from service.clock import HOUR_MS
from service.store import statistics
from service.store.statements import is_sqlite, upsert
from service.store.statistics import COMPLETED, DELIVERED, EXHAUSTED, FAILED, Interval, Kind, Window
from service.tables import IS_SETTLED, Delivery, HourlyRollup, Transcription, table_of

SAMPLE = 12  # durations of each hour and kind, evenly chosen by rank
EVERYBODY = ""

Found = dict[str, tuple[int, list[int]]]  # by the name of a kind: the count, and a sample of durations in ms

COUNTING = """
    SELECT owner, kind, number, took
      FROM (SELECT owner, kind, took,
                   row_number() OVER (PARTITION BY owner, kind ORDER BY took) AS place,
                   count(*) OVER (PARTITION BY owner, kind) AS number
              FROM ({rows}) AS of_the_hour) AS ranked
     WHERE (place - 1) % ((number + {most} - 1) / {most}) = ((number + {most} - 1) / {most}) / 2
"""
ROWS = """
    SELECT {owner} AS owner, '{name}' AS kind, {took} AS took
      FROM {subject}
     WHERE {condition} AND {at} >= :since AND {at} < :until
"""


@dataclass(frozen=True)
class Subject:
    """A table whose rows are counted, each in the hour of its `at` column."""

    subject: str
    good: tuple[Kind, ...]  # kinds whose durations are read
    bad: tuple[Kind, ...]
    columns: tuple[str, ...]  # the columns that make up a kind
    at: str
    took: str
    indexed: str  # condition of the covering index
    created: Column[int]  # its lowest value is the earliest possible `at`
    from_rows: Callable[[Session, Window, str | None], list[Interval]]


JOBS = Subject(
    subject="transcriptions",
    good=COMPLETED,
    bad=FAILED,
    columns=("stage", "learned_from"),
    at="finished_at_ms",
    took="finished_at_ms - created_at_ms",
    indexed="finished_at_ms IS NOT NULL",
    created=table_of(Transcription).c.created_at_ms,
    from_rows=statistics.finished,
)
DELIVERIES = Subject(
    subject="deliveries",
    good=DELIVERED,
    bad=EXHAUSTED,
    columns=("status",),
    at="created_at_ms",
    took="delivered_at_ms - created_at_ms",
    indexed=IS_SETTLED,
    created=table_of(Delivery).c.created_at_ms,
    from_rows=statistics.delivered,
)


def count_hour(session: Session, subject: Subject, hour_ms: int) -> dict[str, Found]:
    """Count an hour by owner. EVERYBODY is always included."""
    values = {"since": hour_ms, "until": hour_ms + HOUR_MS}
    owners: dict[str, Found] = {EVERYBODY: {}}
    for statement in _count_statements(subject):
        for owner, kind, number, took_ms in session.execute(statement, values).all():
            owners.setdefault(owner, {}).setdefault(kind, (number, []))[1].append(took_ms)
    return owners


def interval_of(subject: Subject, hour_ms: int, found: Found) -> Interval:
    """Convert a counted hour to an Interval."""
    kinds = {kind: found.get(_subject_name(kind), (0, [])) for kind in subject.good + subject.bad}
    counts = {kind: number for kind, (number, _) in kinds.items()}
    return Interval(hour_ms, counts, {kind: kinds[kind][1] for kind in subject.good if counts[kind]})


@cache
def _count_statements(subject: Subject) -> list[TextClause]:
    """Return the statements that count for all owners together and for each owner."""
    moments = [bindparam(name, type_=BigInteger) for name in ("since", "until")]
    rows = [_rollup_rows(subject, owner) for owner in (f"'{EVERYBODY}'", "owner")]
    return [text(COUNTING.format(most=SAMPLE, rows=each)).bindparams(*moments) for each in rows]


def _rollup_rows(subject: Subject, owner: str) -> str:
    """Select kind by kind, so that each is a range of the index."""
    return " UNION ALL ".join(
        ROWS.format(
            owner=owner,
            name=_subject_name(kind),
            took=subject.took,
            subject=subject.subject,
            at=subject.at,
            condition=" AND ".join([subject.indexed, *_equals(subject.columns, kind)]),
        )
        for kind in subject.good + subject.bad
    )


def _equals(columns: Iterable[str], kind: Kind) -> list[str]:
    return [f"{column} = '{word}'" for column, word in zip(columns, kind, strict=True)]


def _subject_name(kind: Kind) -> str:
    return "/".join(kind)


counted = table_of(HourlyRollup)

ROLLUP_LOCK = 7_203_003  # PostgreSQL advisory lock, with the number of the hour; revision 0002 uses it too


def finished_hours(session: Session, subject: Subject, window: Window, owner: str | None) -> list[Interval]:
    """Return the results in a window by interval. Longer intervals come as hours, from the rollup."""
    if window.interval_ms < HOUR_MS:
        return subject.from_rows(session, window, owner)
    found = _kept(session, subject, window, owner)
    missing = [hour for hour in range(window.since_ms, window.now_ms + 1, HOUR_MS) if hour not in found]
    for first_ms, last_ms in _runs(missing):
        until_ms = min(last_ms + HOUR_MS - 1, window.now_ms)
        rest = subject.from_rows(session, Window(first_ms, until_ms, HOUR_MS), owner)
        found |= {interval.since_ms: interval for interval in rest}
    return [found[hour] for hour in sorted(found)]


def uncounted_hours(session: Session, subject: Subject, since_ms: int, until_ms: int) -> list[int]:
    """Return the hours in the range that are not counted yet, newest first, none before the first row."""
    created_ms: int | None = session.exec(select(func.min(subject.created))).one()
    if created_ms is None:
        return []
    first_ms = _hour_of(max(since_ms, created_ms))
    there = select(counted.c.hour_ms).where(counted.c.subject == subject.subject, counted.c.owner == EVERYBODY)
    found = set(session.exec(there.where(counted.c.hour_ms >= first_ms)))
    hours = range(first_ms, _hour_of(until_ms), HOUR_MS)
    return [hour for hour in reversed(hours) if hour not in found]


def count_hours_once(session: Session, subject: Subject, hour_ms: int) -> bool:
    """Count an hour and store the result. Return False when another transaction is counting or changing it."""
    if not _locked(session, hour_ms):
        return False
    owners = count_hour(session, subject, hour_ms)
    hour = {"subject": subject.subject, "hour_ms": hour_ms}
    rows = [{**hour, "owner": owner, "counts": found} for owner, found in owners.items()]
    insertion = upsert(session, counted)
    upserted = insertion.on_conflict_do_update(
        index_elements=["subject", "owner", "hour_ms"], set_={"counts": insertion.excluded.counts}
    )
    session.exec(upserted, params=rows)
    return True


def delete_hours_before(session: Session, before_ms: int) -> None:
    """Delete counted hours that no window reaches."""
    session.exec(delete(counted).where(counted.c.hour_ms < before_ms))


def _kept(session: Session, subject: Subject, window: Window, owner: str | None) -> dict[int, Interval]:
    """Return the counted hours of a window. An hour without a row of `owner` is empty."""
    whose = owner or EVERYBODY
    theirs = case((counted.c.owner == whose, counted.c.counts))  # NULL for EVERYBODY if an owner is given
    query = select(counted.c.owner, counted.c.hour_ms, theirs).where(
        counted.c.subject == subject.subject,
        counted.c.owner.in_([EVERYBODY, whose]),
        counted.c.hour_ms.between(window.since_ms, window.now_ms),
    )
    rows = session.exec(query).all()
    found = {hour_ms: kinds for _, hour_ms, kinds in rows if kinds}
    hours = [hour_ms for each, hour_ms, _ in rows if each == EVERYBODY]
    return {hour_ms: interval_of(subject, hour_ms, found.get(hour_ms, {})) for hour_ms in hours}


def _runs(hours: list[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and last hour of each unbroken run in sorted `hours`."""
    ends = [before for before, after in pairwise(hours) if after - before > HOUR_MS]
    begins = [after for before, after in pairwise(hours) if after - before > HOUR_MS]
    if hours:
        yield from zip([hours[0], *begins], [*ends, hours[-1]], strict=True)


def _hour_of(at_ms: int) -> int:
    return at_ms - at_ms % HOUR_MS


def _locked(session: Session, hour_ms: int) -> bool:
    """Block changes to that hour until the commit; False when it is locked. SQLite has one writer anyway."""
    if is_sqlite(session):
        return True
    trying = text(f"SELECT pg_try_advisory_xact_lock({ROLLUP_LOCK}, :hour)")
    return bool(session.scalar(trying, {"hour": hour_ms // HOUR_MS}))


# Written as text: building two dozen selects in SQLAlchemy Core for each endpoint costs more than running them.
OUTCOME_SAMPLE = (
    "SELECT * FROM (SELECT {0} AS step, status FROM deliveries WHERE endpoint_id = :endpoint_id"
    " AND created_at_ms >= :edge_{0} AND created_at_ms < :edge_{1} ORDER BY created_at_ms DESC LIMIT 40) AS s{0}"
)
COUNTED = """
    SELECT step,
           count(*) FILTER (WHERE status = 'delivered') AS delivered,
           count(*) FILTER (WHERE status = 'exhausted') AS exhausted,
           count(*) FILTER (WHERE status = 'pending') AS pending
      FROM ({0}) AS sample GROUP BY step
"""


class IntervalOutcome(NamedTuple):
    """Statuses of the newest deliveries of one endpoint in one step."""

    step: int
    delivered: int
    exhausted: int
    pending: int


def outcomes(session: Session, endpoint_id: str, edges: Sequence[int]) -> list[IntervalOutcome]:
    """Return the outcome of each step between two `edges` (ms) that has a delivery."""
    values: dict[str, str | int] = {f"edge_{n}": edge for n, edge in enumerate(edges)}
    found = session.execute(_outcomes_statement(len(edges) - 1), {**values, "endpoint_id": endpoint_id})
    return [IntervalOutcome(*row) for row in found.all()]


@cache
def _outcomes_statement(steps: int) -> TextClause:
    return text(COUNTED.format(" UNION ALL ".join(OUTCOME_SAMPLE.format(n, n + 1) for n in range(steps))))
