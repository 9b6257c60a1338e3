"""What happened in each interval of a window, counted in ranges of indexes that hold all it takes.

So a million finished rows are counted in tens of milliseconds. How long things took is read from the newest few of
each interval only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    ScalarSelect,
    Select,
    String,
    TextClause,
    bindparam,
    cast,
    func,
    text,
)
from sqlmodel import Session, select

from service.lifecycle import DeliveryStatus, Stage
from service.tables import IS_SETTLED, Delivery, Sweep, Transcription, table_of

jobs = table_of(Transcription)
deliveries = table_of(Delivery)
sweeps = table_of(Sweep)

Kind = tuple[str, ...]
Conditions = list[ColumnElement[bool] | TextClause]

COMPLETED = tuple((str(Stage.COMPLETED), source) for source in ("webhook", "reconciler"))
FAILED = tuple((str(Stage.FAILED), source) for source in ("webhook", "reconciler", "submission"))
DELIVERED = ((str(DeliveryStatus.DELIVERED),),)
EXHAUSTED = ((str(DeliveryStatus.EXHAUSTED),),)
SAMPLE = 100  # durations read of each interval and kind


@dataclass(frozen=True)
class Window:
    """Intervals of `interval_ms`, the first from `since_ms`, the last with `now_ms` in it."""

    since_ms: int
    now_ms: int
    interval_ms: int


@dataclass(frozen=True)
class Interval:
    """How many of each kind, and how long the newest of those that went well took."""

    since_ms: int
    counts: dict[Kind, int]
    durations_ms: dict[Kind, list[int]]


def finished(session: Session, window: Window, owner: str | None) -> list[Interval]:
    """Transcriptions of `owner`'s, or of all, by when they ended; kinds are (stage, source of the news)."""
    found = session.execute(_FINISHED[owner is None], _values(window, owner))
    return [_interval(row, COMPLETED, FAILED) for row in found.all()]


def delivered(session: Session, window: Window, owner: str | None) -> list[Interval]:
    """Deliveries that are over, by when they were made; kinds are (status,)."""
    found = session.execute(_DELIVERED[owner is None], _values(window, owner))
    return [_interval(row, DELIVERED, EXHAUSTED) for row in found.all()]


def finds(session: Session, since_ms: int) -> dict[str, int]:
    """What the reconciler found since then, by kind, as far back as its runs are kept."""
    query = select(sweeps.c.finds).where(sweeps.c.started_at_ms >= since_ms)
    total: dict[str, int] = {}
    for kinds in session.exec(query):
        for kind, number in kinds.items():
            total[kind] = total.get(kind, 0) + number
    return total


def _values(window: Window, owner: str | None) -> dict[str, Any]:
    whose = {} if owner is None else {"owner": owner}
    return {"since": window.since_ms, "width": window.interval_ms, "until": window.now_ms, **whose}


def _interval(row: Any, good: tuple[Kind, ...], bad: tuple[Kind, ...]) -> Interval:
    """A row is the interval's begin, the durations of each good kind, and the counts of all."""
    since_ms, lists, counts = row[0], row[1 : len(good) + 1], row[len(good) + 1 :]
    durations = {
        kind: [int(one) for one in one_list.split(",")]
        for kind, one_list in zip(good, lists, strict=True)
        if one_list
    }
    return Interval(since_ms, dict(zip(good + bad, counts, strict=True)), durations)


def _moment(name: str) -> ColumnElement[int]:
    return bindparam(name, type_=BigInteger)


_first = select(_moment("since").label("lo"), (_moment("since") + _moment("width")).label("hi")).cte(
    "intervals", recursive=True
)
_each = _first.union_all(
    select(_first.c.hi, _first.c.hi + _moment("width")).where(_first.c.hi <= _moment("until"))
)


def _finished(*, of_all: bool) -> Select[Any]:
    at = jobs.c.finished_at_ms

    def of(kind: Kind) -> Conditions:
        whose = [] if of_all else [_is_owner(jobs.c.owner)]
        return [jobs.c.stage == kind[0], jobs.c.learned_from == kind[1], *_within(at), *whose]

    return _each_interval(of, COMPLETED, FAILED, at, at - jobs.c.created_at_ms)


def _delivered(*, of_all: bool) -> Select[Any]:
    at = deliveries.c.created_at_ms

    def of(kind: Kind) -> Conditions:
        whose = [] if of_all else [_is_owner(deliveries.c.owner)]
        return [text(IS_SETTLED), deliveries.c.status == kind[0], *_within(at), *whose]

    return _each_interval(of, DELIVERED, EXHAUSTED, at, deliveries.c.delivered_at_ms - at)


def _is_owner(owner: ColumnElement[str]) -> ColumnElement[bool]:
    """Compared within the index, not looked up: PostgreSQL 18 overrates what a search for it there would cost."""
    return owner.concat("") == bindparam("owner")


def _within(at: ColumnElement[Any]) -> Conditions:
    return [at >= _each.c.lo, at < _each.c.hi]


def _each_interval(
    of: Callable[[Kind], Conditions],
    good: tuple[Kind, ...],
    bad: tuple[Kind, ...],
    at: ColumnElement[Any],
    took: ColumnElement[Any],
) -> Select[Any]:
    durations = [_newest(took, at, of(kind)) for kind in good]
    return select(_each.c.lo, *durations, *[_number(of(kind)) for kind in good + bad]).order_by(_each.c.lo)


def _number(conditions: Conditions) -> ScalarSelect[int]:
    return select(func.count()).where(*conditions).correlate(_each).scalar_subquery()


def _newest(took: ColumnElement[Any], at: ColumnElement[Any], conditions: Conditions) -> ScalarSelect[str]:
    """Durations of the newest few, joined by commas, so that an interval is one row on either database."""
    few = (
        select(took.label("took")).where(*conditions).order_by(at.desc()).limit(SAMPLE).correlate(_each).subquery()
    )
    return select(func.aggregate_strings(cast(few.c.took, String), ",")).scalar_subquery()


_FINISHED = {of_all: _finished(of_all=of_all) for of_all in (True, False)}
_DELIVERED = {of_all: _delivered(of_all=of_all) for of_all in (True, False)}
