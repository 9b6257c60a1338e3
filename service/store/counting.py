"""What ended in one hour, for everybody and for each owner, counted in the ranges that `history` reads."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

from sqlalchemy import BigInteger, Column, TextClause, bindparam, text
from sqlmodel import Session

from service.clock import HOUR_MS
from service.store import history
from service.store.history import COMPLETED, DELIVERED, EXHAUSTED, FAILED, Interval, Kind, Window
from service.tables import IS_SETTLED, Delivery, Transcription, table_of

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
      FROM {about}
     WHERE {condition} AND {at} >= :since AND {at} < :until
"""


@dataclass(frozen=True)
class Subject:
    """What is counted: the rows of a table, each in the hour of one of its moments."""

    about: str
    good: tuple[Kind, ...]  # those of which durations are read
    bad: tuple[Kind, ...]
    columns: tuple[str, ...]  # which say the kind
    at: str
    took: str
    indexed: str  # condition of the index that has all of it
    created: Column[int]  # no moment is before the first of these
    from_rows: Callable[[Session, Window, str | None], list[Interval]]


JOBS = Subject(
    about="transcriptions",
    good=COMPLETED,
    bad=FAILED,
    columns=("stage", "learned_from"),
    at="finished_at_ms",
    took="finished_at_ms - created_at_ms",
    indexed="finished_at_ms IS NOT NULL",
    created=table_of(Transcription).c.created_at_ms,
    from_rows=history.finished,
)
DELIVERIES = Subject(
    about="deliveries",
    good=DELIVERED,
    bad=EXHAUSTED,
    columns=("status",),
    at="created_at_ms",
    took="delivered_at_ms - created_at_ms",
    indexed=IS_SETTLED,
    created=table_of(Delivery).c.created_at_ms,
    from_rows=history.delivered,
)


def count_hour(session: Session, subject: Subject, hour_ms: int) -> dict[str, Found]:
    """By owner; EVERYBODY is there even if nothing ended."""
    values = {"since": hour_ms, "until": hour_ms + HOUR_MS}
    owners: dict[str, Found] = {EVERYBODY: {}}
    for statement in _statements(subject):
        for owner, kind, number, took_ms in session.execute(statement, values).all():
            owners.setdefault(owner, {}).setdefault(kind, (number, []))[1].append(took_ms)
    return owners


def interval_of(subject: Subject, hour_ms: int, found: Found) -> Interval:
    """An hour as `history` gives it."""
    kinds = {kind: found.get(_name(kind), (0, [])) for kind in subject.good + subject.bad}
    counts = {kind: number for kind, (number, _) in kinds.items()}
    return Interval(hour_ms, counts, {kind: kinds[kind][1] for kind in subject.good if counts[kind]})


@cache
def _statements(subject: Subject) -> list[TextClause]:
    """The count for everybody and that for each owner."""
    moments = [bindparam(name, type_=BigInteger) for name in ("since", "until")]
    rows = [_rows(subject, owner) for owner in (f"'{EVERYBODY}'", "owner")]
    return [text(COUNTING.format(most=SAMPLE, rows=each)).bindparams(*moments) for each in rows]


def _rows(subject: Subject, owner: str) -> str:
    """Kind by kind, so that each is a range of the index."""
    return " UNION ALL ".join(
        ROWS.format(
            owner=owner,
            name=_name(kind),
            took=subject.took,
            about=subject.about,
            at=subject.at,
            condition=" AND ".join([subject.indexed, *_is(subject.columns, kind)]),
        )
        for kind in subject.good + subject.bad
    )


def _is(columns: Iterable[str], kind: Kind) -> list[str]:
    return [f"{column} = '{word}'" for column, word in zip(columns, kind, strict=True)]


def _name(kind: Kind) -> str:
    return "/".join(kind)
