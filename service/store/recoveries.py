"""Recoveries: orders to send again, in batches, what an endpoint did not take since a moment."""

from sqlalchemy import ColumnElement, and_, func, or_, text, tuple_, update
from sqlmodel import Session, select

from service.lifecycle import DeliveryStatus
from service.store import receivers
from service.store.claims import DONE, FREE, still_held
from service.store.rows import insert_all
from service.tables import NOT_DELIVERED, Delivery, Recovery, table_of

deliveries = table_of(Delivery)
recoveries = table_of(Recovery)


def order(session: Session, recovery: Recovery) -> int:
    """Insert the order, with the number of deliveries it stands for, which is given back."""
    expected = count(session, recovery.endpoint_id, recovery.since_ms, recovery.until_ms)
    row = Recovery.model_validate({**recovery.model_dump(), "expected": expected})
    insert_all(session, [row])
    receivers.mark_healthy(session, [recovery.endpoint_id])
    return expected


def count(session: Session, endpoint_id: str, since_ms: int, until_ms: int) -> int:
    """How many deliveries would be sent again."""
    # Compared, not looked up: without statistics SQLite would read all that the endpoint ever got.
    wanted = _undelivered(deliveries.c.endpoint_id.concat("") == endpoint_id, since_ms, until_ms)
    return int(session.exec(select(func.count()).select_from(deliveries).where(wanted)).one())


def do_batch(session: Session, row: Recovery, *, size: int, now_ms: int, again_ms: int) -> int:
    """Make the next deliveries due and remember how far it came, or that it is finished; how many there were.

    Both are one transaction, so that a worker that is killed neither skips nor repeats one.
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


def of_endpoint(session: Session, endpoint_id: str) -> list[Recovery]:
    """Its recoveries, newest first."""
    query = select(Recovery).where(recoveries.c.endpoint_id == endpoint_id)
    return list(session.exec(query.order_by(recoveries.c.created_at_ms.desc()).limit(100)))


def _send_again(session: Session, ids: list[str], now_ms: int) -> None:
    if ids:
        values = {"status": DeliveryStatus.PENDING, "due_at_ms": now_ms, "tries": 0, **FREE}
        mine = update(deliveries).where(deliveries.c.id.in_(ids))
        session.exec(mine.values(fence=deliveries.c.fence + 1, **values))


def _idle(now_ms: int) -> ColumnElement[bool]:
    """Not in flight just now."""
    return or_(deliveries.c.lease_until_ms.is_(None), deliveries.c.lease_until_ms <= now_ms)


def _undelivered(of_endpoint: ColumnElement[bool], since_ms: int, until_ms: int) -> ColumnElement[bool]:
    """Exhausted ones, and those that failed and wait for their next try; not what is on its way anyhow."""
    return and_(
        of_endpoint,
        text(NOT_DELIVERED),
        deliveries.c.created_at_ms >= since_ms,
        deliveries.c.created_at_ms <= until_ms,
        deliveries.c.status.in_((DeliveryStatus.EXHAUSTED, DeliveryStatus.PENDING)),
        or_(deliveries.c.status == DeliveryStatus.EXHAUSTED, deliveries.c.tries > 0),
    )
