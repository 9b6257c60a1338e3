"""Statistics: counts of open work, results per interval, and rows that need attention."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    ScalarSelect,
    Select,
    String,
    Table,
    TextClause,
    bindparam,
    cast,
    func,
    text,
)
from sqlmodel import Session, SQLModel, select

from service.lifecycle import OPEN_STAGES, TRIPPED_AFTER, DeliveryStatus, Stage
from service.tables import (
    IS_OPEN,
    IS_SETTLED,
    Delivery,
    Endpoint,
    Receiver,
    Removal,
    Sweep,
    Transcription,
    Webhook,
    table_of,
)

jobs = table_of(Transcription)
webhooks = table_of(Webhook)
deliveries = table_of(Delivery)
removals = table_of(Removal)

LOOKED_AT = 10_000  # rows at the head of a queue that are searched for the oldest

TURN = {Stage.ACCEPTED: "due_at_ms", Stage.SUBMITTING: "due_at_ms", Stage.SUBMITTED: "check_at_ms"}
QUEUES = {
    "collect": (webhooks, webhooks.c.received_at_ms, webhooks.c.transcription_id),
    "deliver": (deliveries, deliveries.c.created_at_ms, deliveries.c.transcription_id),
    "cleanup": (removals, removals.c.created_at_ms, removals.c.transcription_id),
}


@dataclass(frozen=True)
class StageCount:
    """A number of rows, and when the oldest of them was created; None when there are none."""

    count: int
    oldest_ms: int | None


@dataclass(frozen=True)
class OpenWork:
    """The current counts of open transcriptions by stage and of waiting rows by queue."""

    stages: dict[str, StageCount]
    waiting: dict[str, StageCount]


def open_work(session: Session) -> OpenWork:
    """Count the open work of all owners, for metrics."""
    return OpenWork(count_by_stage(session, None), queue_lengths(session, None))


def count_by_stage(session: Session, owner: str | None) -> dict[str, StageCount]:
    """Count open transcriptions by stage, of `owner` or of all owners for None."""
    whose = [] if owner is None else [jobs.c.owner == owner]
    by_stage = select(jobs.c.stage, func.count()).where(text(IS_OPEN), *whose).group_by(jobs.c.stage)
    counts = {row[0]: int(row[1]) for row in session.exec(by_stage).all()}
    found = {}
    for stage in OPEN_STAGES:
        turn = jobs.c[TURN[stage]]
        here = [jobs.c.stage == stage, turn.is_not(None), *whose]
        oldest_ms = _oldest(session, jobs.c.created_at_ms, turn, here) if stage in counts else None
        found[str(stage)] = StageCount(counts.get(stage, 0), oldest_ms)
    return found


def queue_lengths(session: Session, owner: str | None) -> dict[str, StageCount]:
    """Count rows that wait for a worker by queue. With `owner`: rows of the owner's transcriptions."""
    found = {}
    for queue, (table, created_at_ms, job_id) in QUEUES.items():
        here: list[ColumnElement[bool]] = [table.c.due_at_ms.is_not(None)]
        if owner is not None:
            here.append(job_id.in_(select(jobs.c.id).where(jobs.c.owner == owner, jobs.c.id == job_id)))
        count = int(session.exec(select(func.count()).select_from(table).where(*here)).one())
        oldest_ms = _oldest(session, created_at_ms, table.c.due_at_ms, here) if count else None
        found[queue] = StageCount(count, oldest_ms)
    return found


def _oldest(session: Session, created_at_ms: Any, turn: Any, conditions: list[ColumnElement[bool]]) -> int | None:
    """Return the oldest creation time among the first LOOKED_AT rows of the queue; exact for shorter queues."""
    next_ones = select(created_at_ms.label("at_ms")).where(*conditions).order_by(turn).limit(LOOKED_AT).subquery()
    oldest: int | None = session.exec(select(func.min(next_ones.c.at_ms))).one()
    return oldest


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
    """Intervals of `interval_ms`. The first starts at `since_ms`, the last contains `now_ms`."""

    since_ms: int
    now_ms: int
    interval_ms: int


@dataclass(frozen=True)
class Interval:
    """The number of rows of each kind, and the durations of the newest successful ones."""

    since_ms: int
    counts: dict[Kind, int]
    durations_ms: dict[Kind, list[int]]


def finished(session: Session, window: Window, owner: str | None) -> list[Interval]:
    """Count finished transcriptions by end time. Kinds are (stage, `learned_from`). `owner` None means all."""
    found = session.execute(_FINISHED[owner is None], _values(window, owner))
    return [_interval(row, COMPLETED, FAILED) for row in found.all()]


def delivered(session: Session, window: Window, owner: str | None) -> list[Interval]:
    """Count settled deliveries by creation time. Kinds are (status,). `owner` None means all."""
    found = session.execute(_DELIVERED[owner is None], _values(window, owner))
    return [_interval(row, DELIVERED, EXHAUSTED) for row in found.all()]


def findings(session: Session, since_ms: int) -> dict[str, int]:
    """Sum the reconciler's findings since `since_ms` by kind, as far back as its sweeps are kept."""
    query = select(sweeps.c.findings).where(sweeps.c.started_at_ms >= since_ms)
    total: dict[str, int] = {}
    for kinds in session.exec(query):
        for kind, number in kinds.items():
            total[kind] = total.get(kind, 0) + number
    return total


def _values(window: Window, owner: str | None) -> dict[str, Any]:
    whose = {} if owner is None else {"owner": owner}
    return {"since": window.since_ms, "width": window.interval_ms, "until": window.now_ms, **whose}


def _interval(row: Any, good: tuple[Kind, ...], bad: tuple[Kind, ...]) -> Interval:
    """Convert a row: the interval's start, the durations of each good kind, the counts of all kinds."""
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
    """Filter by owner within the index scan: PostgreSQL 18 overestimates the cost of a search for it there."""
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
    """Join the newest durations with commas, so that an interval is one row on both databases."""
    few = (
        select(took.label("took")).where(*conditions).order_by(at.desc()).limit(SAMPLE).correlate(_each).subquery()
    )
    return select(func.aggregate_strings(cast(few.c.took, String), ",")).scalar_subquery()


_FINISHED = {of_all: _finished(of_all=of_all) for of_all in (True, False)}
_DELIVERED = {of_all: _delivered(of_all=of_all) for of_all in (True, False)}
endpoints = table_of(Endpoint)
receivers = table_of(Receiver)

M = TypeVar("M", bound=SQLModel)
Condition = ColumnElement[bool] | TextClause

ROWS_PER_ALERT = 5


def failed(session: Session, since_ms: int, owner: str | None) -> tuple[int, list[Transcription]]:
    """Count the transcriptions that failed since `since_ms` and are still failed. Return also the newest."""
    total, found = 0, list[Transcription]()
    for stage, source in FAILED:  # one query each, so that each is a range of the index
        here = [jobs.c.stage == stage, jobs.c.learned_from == source, jobs.c.finished_at_ms >= since_ms]
        number, newest = _newest_rows(
            session, Transcription, [*here, *_where_owner(jobs, owner)], jobs.c.finished_at_ms
        )
        total += number
        found += newest
    return total, sorted(found, key=lambda job: job.finished_at_ms or 0, reverse=True)[:ROWS_PER_ALERT]


def exhausted(session: Session, since_ms: int, owner: str | None) -> tuple[int, list[Delivery]]:
    """Count the exhausted deliveries created since `since_ms`. Return also the newest."""
    given_up: list[Condition] = [text(IS_SETTLED), deliveries.c.status == DeliveryStatus.EXHAUSTED]
    recent = [deliveries.c.created_at_ms >= since_ms, *_where_owner(deliveries, owner)]
    return _newest_rows(session, Delivery, [*given_up, *recent], deliveries.c.created_at_ms)


def disabled(session: Session, owner: str | None) -> list[Endpoint]:
    """Return the endpoints that the relay disabled, not those that a caller disabled."""
    query = select(Endpoint).where(endpoints.c.enabled.is_(False), endpoints.c.disabled_reason.is_not(None))
    query = (
        query.where(*_where_owner(endpoints, owner))
        .order_by(endpoints.c.disabled_at_ms.desc())
        .limit(ROWS_PER_ALERT)
    )
    return list(session.exec(query))


def failing(session: Session, owner: str | None) -> Sequence[tuple[str, int, int | None]]:
    """Return (id, failures, failing_since_ms) of enabled endpoints with TRIPPED_AFTER failures in a row."""
    query = select(endpoints.c.id, receivers.c.failures, receivers.c.failing_since_ms)
    query = query.join(receivers, receivers.c.id == endpoints.c.id)
    query = query.where(
        endpoints.c.enabled.is_(True), receivers.c.failures >= TRIPPED_AFTER, *_where_owner(endpoints, owner)
    )
    return session.exec(query.order_by(receivers.c.failing_since_ms).limit(ROWS_PER_ALERT)).all()


def _newest_rows(
    session: Session, model: type[M], conditions: Sequence[Condition], at: ColumnElement[Any]
) -> tuple[int, list[M]]:
    number = session.exec(select(func.count()).select_from(model).where(*conditions)).one()
    newest = select(model).where(*conditions).order_by(at.desc()).limit(ROWS_PER_ALERT)
    return number, list(session.exec(newest))


def _where_owner(table: Table, owner: str | None) -> list[ColumnElement[bool]]:
    return [] if owner is None else [table.c.owner == owner]
