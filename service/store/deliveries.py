"""Deliveries, their attempts, and recoveries: orders to resend what an endpoint did not accept."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, bindparam, func, or_, text, tuple_, update
from sqlmodel import Session, select

from service.lifecycle import DeliveryStatus
from service.store import endpoints, transcriptions
from service.store.claims import DONE, FREE, still_held
from service.store.delivery_queue import ClaimedDelivery
from service.store.endpoints import ReceiverFailure
from service.store.statements import insert_all
from service.store.transcription_queries import Page, keyset_page
from service.tables import NOT_DELIVERED, Attempt, Delivery, Recovery, TimelineEntry, table_of

deliveries = table_of(Delivery)
attempts = table_of(Attempt)


@dataclass(frozen=True)
class Settlement:
    """One attempt and its consequences. `due_at_ms` is None when no further try is due.

    `failure` is the effect on the receiver, None when the event was delivered. `healed` is True when it was
    delivered and the receiver had failed before.
    """

    delivery: ClaimedDelivery
    attempt: Attempt
    status: DeliveryStatus
    due_at_ms: int | None
    failure: ReceiverFailure | None
    entry: TimelineEntry | None

    @property
    def healed(self) -> bool:
        return self.status is DeliveryStatus.DELIVERED and bool(self.delivery.failures)


def settle(session: Session, settled: Sequence[Settlement]) -> Sequence[None]:
    """Record attempts and their outcomes. A delivery whose claim was lost keeps its state."""
    insert_all(session, [one.attempt for one in settled])
    session.connection().execute(_SETTLE, [_values(one) for one in settled])
    insert_all(session, [one.entry for one in settled if one.entry])
    endpoints.count_failures(session, [one.failure for one in settled if one.failure])
    endpoints.mark_healthy(session, [one.delivery.receiver for one in settled if one.healed])
    for one in settled:
        code, delivery = one.attempt.status_code, one.delivery
        if delivery.endpoint_id is None and delivery.transcription_id and code:
            transcriptions.mark_called_back(session, delivery.transcription_id, code)
    return [None] * len(settled)


_SET = ("status", "due_at_ms", "tries", "last_error", "delivered_at_ms")
_SETTLE = (
    update(deliveries)
    .where(deliveries.c.id == bindparam("delivery_id"), deliveries.c.fence == bindparam("claimed_fence"))
    .values({name: bindparam(name) for name in _SET} | FREE)
)


def _values(one: Settlement) -> dict[str, str | int | None]:
    delivery, attempt = one.delivery, one.attempt
    return {
        "delivery_id": delivery.id,
        "claimed_fence": delivery.fence,
        "status": one.status,
        "due_at_ms": one.due_at_ms,
        "tries": delivery.tries + 1,
        "last_error": attempt.error,
        "delivered_at_ms": (
            attempt.at_ms + attempt.duration_ms if one.status is DeliveryStatus.DELIVERED else None
        ),
    }


def get(session: Session, delivery_id: str, owner: str | None) -> Delivery | None:
    """Return a delivery of `owner`, or of any owner for None."""
    return session.exec(select(Delivery).where(deliveries.c.id == delivery_id, *_where_owner(owner))).one_or_none()


@dataclass(frozen=True)
class DeliveryFilter:
    """Which deliveries to list. None matches any value."""

    owner: str | None
    endpoint_id: str | None = None
    status: str | None = None
    event_id: str | None = None


def page(session: Session, chosen: DeliveryFilter, page: Page) -> list[Delivery]:
    """Return one page, plus one row if there is a next page."""
    query = select(Delivery).where(*_where_owner(chosen.owner))
    if chosen.status not in {None, DeliveryStatus.DELIVERED}:
        query = query.where(text(NOT_DELIVERED))
    for name in ("endpoint_id", "status", "event_id"):
        if (wanted := getattr(chosen, name)) is not None:
            query = query.where(deliveries.c[name] == wanted)
    return list(session.exec(keyset_page(query, deliveries, page)))


def retry(session: Session, delivery: Delivery, now_ms: int) -> None:
    """Make a delivery due now, with all tries of its schedule. An attempt in flight no longer counts."""
    values = {"status": DeliveryStatus.PENDING, "due_at_ms": now_ms, "tries": 0, "delivered_at_ms": None, **FREE}
    mine = update(deliveries).where(deliveries.c.id == delivery.id)
    session.exec(mine.values(fence=deliveries.c.fence + 1, **values))
    endpoints.close_circuit(session, delivery.receiver)


def of_transcription(session: Session, transcription_id: str) -> list[Delivery]:
    """Return all deliveries about a transcription, oldest first."""
    query = select(Delivery).where(deliveries.c.transcription_id == transcription_id)
    return list(session.exec(query.order_by(deliveries.c.created_at_ms, deliveries.c.id)))


def statuses_of(session: Session, transcription_ids: Sequence[str]) -> dict[str, list[str]]:
    """Return the statuses of deliveries by transcription id, oldest first."""
    theirs = deliveries.c.transcription_id.in_(transcription_ids)
    query = select(deliveries.c.transcription_id, deliveries.c.status).where(theirs).order_by(deliveries.c.id)
    found: dict[str, list[str]] = {}
    for transcription_id, status in session.exec(query):
        found.setdefault(transcription_id, []).append(status)
    return found


def attempts_of(session: Session, delivery_ids: list[str]) -> list[Attempt]:
    """Return all attempts of some deliveries, oldest first."""
    query = select(Attempt).where(attempts.c.delivery_id.in_(delivery_ids)).order_by(attempts.c.id)
    return list(session.exec(query))


def count_attempts(session: Session, delivery_ids: list[str]) -> dict[str, int]:
    """Return the number of attempts by delivery id."""
    query = select(attempts.c.delivery_id, func.count()).where(attempts.c.delivery_id.in_(delivery_ids))
    found = session.exec(query.group_by(attempts.c.delivery_id)).all()
    return {row[0]: row[1] for row in found}


def _where_owner(owner: str | None) -> list[ColumnElement[bool]]:
    return [] if owner is None else [deliveries.c.owner == owner]


recoveries = table_of(Recovery)


def create_recovery(session: Session, recovery: Recovery) -> int:
    """Insert a recovery with its expected number of deliveries. Return that number."""
    expected = count_undelivered(session, recovery.endpoint_id, recovery.since_ms, recovery.until_ms)
    row = Recovery.model_validate({**recovery.model_dump(), "expected": expected})
    insert_all(session, [row])
    endpoints.mark_healthy(session, [recovery.endpoint_id])
    return expected


def count_undelivered(session: Session, endpoint_id: str, since_ms: int, until_ms: int) -> int:
    """Count the deliveries that a recovery would resend."""
    # concat() keeps SQLite off the endpoint's index: without statistics it would read all rows of the endpoint.
    wanted = _undelivered(deliveries.c.endpoint_id.concat("") == endpoint_id, since_ms, until_ms)
    return int(session.exec(select(func.count()).select_from(deliveries).where(wanted)).one())


def run_recovery_batch(session: Session, row: Recovery, *, size: int, now_ms: int, again_ms: int) -> int:
    """Make the next deliveries due and store the position, or mark the recovery finished. Return their number.

    All of it is one transaction, so a killed worker neither skips nor repeats a delivery.
    """
    position = tuple_(deliveries.c.created_at_ms, deliveries.c.id) > (row.at_created_ms, row.at_id)
    query = (
        select(deliveries.c.id, deliveries.c.created_at_ms)
        .where(
            _undelivered(deliveries.c.endpoint_id == row.endpoint_id, row.since_ms, row.until_ms),
            position,
            _idle(now_ms),
        )
        .order_by(deliveries.c.created_at_ms, deliveries.c.id)
        .limit(size)
    )
    batch = session.exec(query).all()
    done = {"recovered": row.recovered + len(batch)}
    if batch:
        values = {**FREE, "due_at_ms": again_ms, "at_id": batch[-1][0], "at_created_ms": batch[-1][1]}
    else:
        values = {**DONE, "finished_at_ms": now_ms}
    mine = session.exec(update(recoveries).where(still_held(Recovery, row)).values(**values, **done))
    if mine.rowcount != 1:
        return 0
    _send_again(session, [row_id for row_id, _ in batch], now_ms)
    return len(batch)


def recoveries_of(session: Session, endpoint_id: str) -> list[Recovery]:
    """Return the endpoint's newest 100 recoveries, newest first."""
    query = select(Recovery).where(recoveries.c.endpoint_id == endpoint_id)
    return list(session.exec(query.order_by(recoveries.c.created_at_ms.desc()).limit(100)))


def _send_again(session: Session, ids: list[str], now_ms: int) -> None:
    if ids:
        values = {"status": DeliveryStatus.PENDING, "due_at_ms": now_ms, "tries": 0, **FREE}
        mine = update(deliveries).where(deliveries.c.id.in_(ids))
        session.exec(mine.values(fence=deliveries.c.fence + 1, **values))


def _idle(now_ms: int) -> ColumnElement[bool]:
    """Match deliveries that are not in flight."""
    return or_(deliveries.c.lease_until_ms.is_(None), deliveries.c.lease_until_ms <= now_ms)


def _undelivered(of_endpoint: ColumnElement[bool], since_ms: int, until_ms: int) -> ColumnElement[bool]:
    """Match exhausted deliveries and those that wait for a retry, but not those that were never tried."""
    return and_(
        of_endpoint,
        text(NOT_DELIVERED),
        deliveries.c.created_at_ms >= since_ms,
        deliveries.c.created_at_ms <= until_ms,
        deliveries.c.status.in_((DeliveryStatus.EXHAUSTED, DeliveryStatus.PENDING)),
        or_(deliveries.c.status == DeliveryStatus.EXHAUSTED, deliveries.c.tries > 0),
    )
