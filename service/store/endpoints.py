"""Endpoints, the health of receivers, and the deliveries held while an endpoint is disabled."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, and_, bindparam, delete, func, or_, text, update
from sqlmodel import Session, select

from service.lifecycle import DeliveryStatus
from service.store.claims import FREE
from service.store.statements import changed, insert_all, upsert
from service.store.transcription_queries import Page, keyset_page
from service.tables import NOT_DELIVERED, Delivery, Endpoint, Receiver, table_of

endpoints = table_of(Endpoint)


def add(session: Session, endpoint: Endpoint) -> None:
    """Insert an endpoint and its receiver row."""
    insert_all(session, [endpoint])
    insert_all(session, [Receiver(id=endpoint.id)])


def subscribed(session: Session, owner: str, event_type: str) -> list[Endpoint]:
    """Return the endpoints subscribed to an event of `owner`, with the disabled ones, which hold deliveries.

    Disabled endpoints are read again under a lock. Without it, an endpoint that is enabled at the same moment
    might never get the delivery held for it.
    """
    found = list(session.exec(_SUBSCRIBES, params={"of_owner": owner}))
    disabled = [row.id for row in found if not row.enabled]
    if disabled:
        now = list(session.exec(_LOCKED, params={"ids": disabled}))
        found = [row for row in found if row.enabled] + now
    return [row for row in found if is_subscribed(row, event_type)]


_SUBSCRIBES = (
    select(Endpoint)
    .where(or_(endpoints.c.owner == bindparam("of_owner"), endpoints.c.sees_all))
    .order_by(endpoints.c.id)
)
_IDS: BindParameter[str] = bindparam("ids", expanding=True)
_LOCKED = select(Endpoint).where(endpoints.c.id.in_(_IDS)).order_by(endpoints.c.id).with_for_update(read=True)


def is_subscribed(endpoint: Endpoint, event_type: str) -> bool:
    """Return True when the endpoint wants this type. An empty list of types means all."""
    return not endpoint.event_types or event_type in endpoint.event_types


def get(session: Session, endpoint_id: str, owner: str | None) -> Endpoint | None:
    """Return an endpoint of `owner`, or of any owner for None."""
    query = select(Endpoint).where(endpoints.c.id == endpoint_id, *_where_owner(owner))
    return session.exec(query).one_or_none()


def of_ids(session: Session, ids: Collection[str], owner: str | None) -> dict[str, Endpoint]:
    """Return the endpoints among `ids` that `owner` has, or all of them for None, by id."""
    if not ids:
        return {}
    query = select(Endpoint).where(endpoints.c.id.in_(ids), *_where_owner(owner))
    return {row.id: row for row in list(session.exec(query))}


def page(session: Session, owner: str | None, page: Page) -> list[Endpoint]:
    """Return one page, plus one row if there is a next page."""
    query = keyset_page(select(Endpoint).where(*_where_owner(owner)), endpoints, page)
    return list(session.exec(query))


def change(session: Session, endpoint_id: str, values: dict[str, Any]) -> Endpoint | None:
    """Set columns. Return the updated row, or None when the endpoint does not exist."""
    if not values:
        return get(session, endpoint_id, None)
    mine = update(Endpoint).where(endpoints.c.id == endpoint_id)
    return changed(session, mine.values(**values).returning(Endpoint)).one_or_none()


def disable(session: Session, endpoint_id: str, *, now_ms: int, reason: str | None) -> Endpoint | None:
    """Disable an endpoint and hold its deliveries. Return None when it was disabled or does not exist."""
    mine = update(Endpoint).where(endpoints.c.id == endpoint_id, endpoints.c.enabled).returning(Endpoint)
    values = {"enabled": False, "disabled_at_ms": now_ms, "disabled_reason": reason}
    disabled = changed(session, mine.values(**values)).one_or_none()
    if disabled is not None:
        hold_deliveries(session, endpoint_id, now_ms)
    return disabled


def enable(session: Session, endpoint_id: str) -> None:
    """Enable an endpoint, mark it healthy, and release its held deliveries."""
    values = {"enabled": True, "disabled_at_ms": None, "disabled_reason": None}
    session.exec(update(endpoints).where(endpoints.c.id == endpoint_id).values(**values))
    mark_healthy(session, [endpoint_id])
    release_deliveries(session, endpoint_id)


def remove(session: Session, endpoint_id: str) -> None:
    """Delete an endpoint. Its deliveries stay readable; pending ones become exhausted, with the reason."""
    session.exec(delete(endpoints).where(endpoints.c.id == endpoint_id))
    delete_health(session, endpoint_id)
    exhaust_deliveries(session, endpoint_id)


def _where_owner(owner: str | None) -> list[ColumnElement[bool]]:
    return [] if owner is None else [endpoints.c.owner == owner]


delivery_rows = table_of(Delivery)


def hold_deliveries(session: Session, endpoint_id: str, now_ms: int) -> None:
    """Hold the due deliveries. Those in flight stay due; the next claim holds them."""
    idle = delivery_rows.c.lease_until_ms.is_(None) | (delivery_rows.c.lease_until_ms <= now_ms)
    waiting = update(delivery_rows).where(
        delivery_rows.c.receiver == endpoint_id, delivery_rows.c.due_at_ms.is_not(None), idle
    )
    session.exec(waiting.values(due_at_ms=None, **FREE))


def release_deliveries(session: Session, endpoint_id: str) -> None:
    """Make held deliveries due, in the order of their creation."""
    held = update(delivery_rows).where(
        delivery_rows.c.endpoint_id == endpoint_id,
        text(NOT_DELIVERED),
        delivery_rows.c.status == DeliveryStatus.PENDING,
        delivery_rows.c.due_at_ms.is_(None),
    )
    session.exec(held.values(due_at_ms=delivery_rows.c.created_at_ms))


def exhaust_deliveries(session: Session, endpoint_id: str) -> None:
    """Mark the pending deliveries of a deleted endpoint as exhausted, with that reason."""
    pending = and_(text(NOT_DELIVERED), delivery_rows.c.status == DeliveryStatus.PENDING)
    open_ones = and_(delivery_rows.c.endpoint_id == endpoint_id, pending)
    values = {
        "status": DeliveryStatus.EXHAUSTED,
        "due_at_ms": None,
        "last_error": "the endpoint was deleted",
        **FREE,
    }
    session.exec(update(delivery_rows).where(open_ones).values(fence=delivery_rows.c.fence + 1, **values))


receivers = table_of(Receiver)

HEALTHY = {"failures": 0, "failing_since_ms": None, "circuit_open_until_ms": None}


@dataclass(frozen=True, order=True)
class ReceiverFailure:
    """A failed attempt. Nothing is sent to the receiver before `circuit_open_until_ms`; None means no wait."""

    receiver: str
    at_ms: int
    circuit_open_until_ms: int | None = None


def count_failures(session: Session, failures: Sequence[ReceiverFailure]) -> None:
    """Raise the failure counts, in the order of ids, so that two workers cannot deadlock."""
    if not failures:
        return
    fresh = upsert(session, receivers)
    statement = fresh.on_conflict_do_update(
        index_elements=[receivers.c.id],
        set_={
            "failures": receivers.c.failures + 1,
            "failing_since_ms": func.coalesce(receivers.c.failing_since_ms, fresh.excluded.failing_since_ms),
            "circuit_open_until_ms": fresh.excluded.circuit_open_until_ms,
        },
    )
    rows = [
        {
            "id": failure.receiver,
            "failures": 1,
            "failing_since_ms": failure.at_ms,
            "circuit_open_until_ms": failure.circuit_open_until_ms,
            "rate_spent_until_ms": 0,
        }
        for failure in sorted(failures, key=lambda failure: failure.receiver)
    ]
    session.exec(statement, params=rows)


def mark_healthy(session: Session, ids: Sequence[str]) -> None:
    """Reset the failures of receivers that accepted a delivery, or that a caller declares healthy."""
    if ids:
        session.exec(update(receivers).where(receivers.c.id.in_(sorted(ids))).values(**HEALTHY))


def close_circuit(session: Session, receiver: str) -> None:
    """Close the circuit breaker, so that the next delivery is sent now."""
    session.exec(update(receivers).where(receivers.c.id == receiver).values(circuit_open_until_ms=None))


def delete_health(session: Session, receiver: str) -> None:
    """Delete the health row of a receiver."""
    session.exec(delete(receivers).where(receivers.c.id == receiver))
