"""Holding: what waits for a disabled endpoint is pending without a due time, so that it costs a claim nothing."""

from sqlalchemy import text, update
from sqlmodel import Session

from service.lifecycle import DeliveryStatus
from service.store.claims import FREE
from service.tables import NOT_DELIVERED, Delivery, table_of

deliveries = table_of(Delivery)


def hold(session: Session, endpoint_id: str, now_ms: int) -> None:
    """Take what is due from the queue, but not what is in flight; the next claim asks for that again."""
    idle = deliveries.c.lease_until_ms.is_(None) | (deliveries.c.lease_until_ms <= now_ms)
    waiting = update(deliveries).where(
        deliveries.c.receiver == endpoint_id, deliveries.c.due_at_ms.is_not(None), idle
    )
    session.exec(waiting.values(due_at_ms=None, **FREE))


def give_back(session: Session, endpoint_id: str) -> None:
    """Make due what was held, in the order in which it came."""
    held = update(deliveries).where(
        deliveries.c.endpoint_id == endpoint_id,
        text(NOT_DELIVERED),
        deliveries.c.status == DeliveryStatus.PENDING,
        deliveries.c.due_at_ms.is_(None),
    )
    session.exec(held.values(due_at_ms=deliveries.c.created_at_ms))
