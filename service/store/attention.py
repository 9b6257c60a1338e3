"""What somebody should look at: newest first, a few of each."""

from collections.abc import Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Table, TextClause, func, text
from sqlmodel import Session, SQLModel, select

from service.lifecycle import TRIPPED_AFTER, DeliveryStatus
from service.store.history import FAILED
from service.tables import IS_SETTLED, Delivery, Endpoint, Receiver, Transcription, table_of

jobs = table_of(Transcription)
deliveries = table_of(Delivery)
endpoints = table_of(Endpoint)
receivers = table_of(Receiver)

M = TypeVar("M", bound=SQLModel)
Condition = ColumnElement[bool] | TextClause

SHOWN = 5


def failed(session: Session, since_ms: int, owner: str | None) -> tuple[int, list[Transcription]]:
    """How many transcriptions failed since then and stayed so, and the last of them."""
    total, found = 0, list[Transcription]()
    for stage, source in FAILED:  # one by one, each is a range of the index
        here = [jobs.c.stage == stage, jobs.c.learned_from == source, jobs.c.finished_at_ms >= since_ms]
        number, newest = _newest(session, Transcription, [*here, *_of(jobs, owner)], jobs.c.finished_at_ms)
        total += number
        found += newest
    return total, sorted(found, key=lambda job: job.finished_at_ms or 0, reverse=True)[:SHOWN]


def exhausted(session: Session, since_ms: int, owner: str | None) -> tuple[int, list[Delivery]]:
    """How many deliveries made since then were given up, and the last of them."""
    given_up: list[Condition] = [text(IS_SETTLED), deliveries.c.status == DeliveryStatus.EXHAUSTED]
    recent = [deliveries.c.created_at_ms >= since_ms, *_of(deliveries, owner)]
    return _newest(session, Delivery, [*given_up, *recent], deliveries.c.created_at_ms)


def disabled(session: Session, owner: str | None) -> list[Endpoint]:
    """Endpoints that the relay disabled, not their owner."""
    query = select(Endpoint).where(endpoints.c.enabled.is_(False), endpoints.c.disabled_reason.is_not(None))
    query = query.where(*_of(endpoints, owner)).order_by(endpoints.c.disabled_at_ms.desc()).limit(SHOWN)
    return list(session.exec(query))


def failing(session: Session, owner: str | None) -> Sequence[tuple[str, int, int | None]]:
    """Enabled endpoints that failed several times in a row: id, failures, failing_since_ms."""
    query = select(endpoints.c.id, receivers.c.failures, receivers.c.failing_since_ms)
    query = query.join(receivers, receivers.c.id == endpoints.c.id)
    query = query.where(
        endpoints.c.enabled.is_(True), receivers.c.failures >= TRIPPED_AFTER, *_of(endpoints, owner)
    )
    return session.exec(query.order_by(receivers.c.failing_since_ms).limit(SHOWN)).all()


def _newest(
    session: Session, model: type[M], conditions: Sequence[Condition], at: ColumnElement[Any]
) -> tuple[int, list[M]]:
    number = session.exec(select(func.count()).select_from(model).where(*conditions)).one()
    newest = select(model).where(*conditions).order_by(at.desc()).limit(SHOWN)
    return number, list(session.exec(newest))


def _of(table: Table, owner: str | None) -> list[ColumnElement[bool]]:
    return [] if owner is None else [table.c.owner == owner]
