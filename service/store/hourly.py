"""The hourly rollup: what ended in an hour, counted once and kept."""

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

Found = dict[str, tuple[int, list[int]]]  # how many by the name of a kind, and some of their durations

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
    """What is counted: the rows of a table, each in the hour of one of its moments."""

    subject: str
    good: tuple[Kind, ...]  # those of which durations are read
    bad: tuple[Kind, ...]
    columns: tuple[str, ...]  # which say the kind
    at: str
    took: str
    indexed: str  # condition of the index that has all of it
    created: Column[int]  # no moment is before the first of these
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
    """By owner; EVERYBODY is there even if nothing ended."""
    values = {"since": hour_ms, "until": hour_ms + HOUR_MS}
    owners: dict[str, Found] = {EVERYBODY: {}}
    for statement in _count_statements(subject):
        for owner, kind, number, took_ms in session.execute(statement, values).all():
            owners.setdefault(owner, {}).setdefault(kind, (number, []))[1].append(took_ms)
    return owners


def interval_of(subject: Subject, hour_ms: int, found: Found) -> Interval:
    """An hour as `history` gives it."""
    kinds = {kind: found.get(_subject_name(kind), (0, [])) for kind in subject.good + subject.bad}
    counts = {kind: number for kind, (number, _) in kinds.items()}
    return Interval(hour_ms, counts, {kind: kinds[kind][1] for kind in subject.good if counts[kind]})


@cache
def _count_statements(subject: Subject) -> list[TextClause]:
    """The count for everybody and that for each owner."""
    moments = [bindparam(name, type_=BigInteger) for name in ("since", "until")]
    rows = [_rollup_rows(subject, owner) for owner in (f"'{EVERYBODY}'", "owner")]
    return [text(COUNTING.format(most=SAMPLE, rows=each)).bindparams(*moments) for each in rows]


def _rollup_rows(subject: Subject, owner: str) -> str:
    """Kind by kind, so that each is a range of the index."""
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

ROLLUP_LOCK = (
    7_203_003  # names this lock in PostgreSQL, together with the number of the hour; revision 0002 has it too
)


def finished_hours(session: Session, subject: Subject, window: Window, owner: str | None) -> list[Interval]:
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


def uncounted_hours(session: Session, subject: Subject, since_ms: int, until_ms: int) -> list[int]:
    """Hours between the two in which something may have ended and that are not counted, the newest first."""
    created_ms: int | None = session.exec(select(func.min(subject.created))).one()
    if created_ms is None:
        return []
    first_ms = _hour_of(max(since_ms, created_ms))
    there = select(counted.c.hour_ms).where(counted.c.subject == subject.subject, counted.c.owner == EVERYBODY)
    found = set(session.exec(there.where(counted.c.hour_ms >= first_ms)))
    hours = range(first_ms, _hour_of(until_ms), HOUR_MS)
    return [hour for hour in reversed(hours) if hour not in found]


def count_hours_once(session: Session, subject: Subject, hour_ms: int) -> bool:
    """Count an hour and keep that; False when somebody else counts it, or changes it, just now."""
    if not _locked(session, hour_ms):
        return False
    owners = count_hour(session, subject, hour_ms)
    hour = {"subject": subject.subject, "hour_ms": hour_ms}
    rows = [{**hour, "owner": owner, "counts": found} for owner, found in owners.items()]
    insertion = upsert(session, counted)
    anew = insertion.on_conflict_do_update(
        index_elements=["subject", "owner", "hour_ms"], set_={"counts": insertion.excluded.counts}
    )
    session.exec(anew, params=rows)
    return True


def delete_hours_before(session: Session, before_ms: int) -> None:
    """No window reaches so far back."""
    session.exec(delete(counted).where(counted.c.hour_ms < before_ms))


def _kept(session: Session, subject: Subject, window: Window, owner: str | None) -> dict[int, Interval]:
    """The counted hours of a window; one in which `owner` has no row is an empty one of theirs."""
    whose = owner or EVERYBODY
    theirs = case((counted.c.owner == whose, counted.c.counts))  # of everybody's only the hour, if somebody asks
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
    trying = text(f"SELECT pg_try_advisory_xact_lock({ROLLUP_LOCK}, :hour)")
    return bool(session.scalar(trying, {"hour": hour_ms // HOUR_MS}))


# Read as text: putting together two dozen selects in Core for each endpoint costs more than running them.
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
    """What became of the newest deliveries of one endpoint in one step."""

    step: int
    delivered: int
    exhausted: int
    pending: int


def outcomes(session: Session, endpoint_id: str, edges: Sequence[int]) -> list[IntervalOutcome]:
    """For each step between two edges (ms) in which there was any delivery."""
    values: dict[str, str | int] = {f"edge_{n}": edge for n, edge in enumerate(edges)}
    found = session.execute(_outcomes_statement(len(edges) - 1), {**values, "endpoint_id": endpoint_id})
    return [IntervalOutcome(*row) for row in found.all()]


@cache
def _outcomes_statement(steps: int) -> TextClause:
    return text(COUNTED.format(" UNION ALL ".join(OUTCOME_SAMPLE.format(n, n + 1) for n in range(steps))))
