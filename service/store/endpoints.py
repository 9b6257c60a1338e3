"""Downstream subscribers."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, bindparam, delete, or_, update
from sqlmodel import Session, select

from service.store import deliveries, holding, receivers
from service.store.paging import Page, cut
from service.store.rows import changed, insert_all
from service.tables import Endpoint, Receiver, table_of

endpoints = table_of(Endpoint)


def add(session: Session, endpoint: Endpoint) -> None:
    """Insert one."""
    insert_all(session, [endpoint])
    insert_all(session, [Receiver(id=endpoint.id)])


def subscribed(session: Session, owner: str, event_type: str) -> list[Endpoint]:
    """Who hears of an event of `owner`'s; disabled ones too, for which it is held.

    A disabled one is read again under a lock: else one that is just being enabled might never get what is held
    for it in the same moment.
    """
    found = list(session.exec(_HEARS, params={"of_owner": owner}))
    disabled = [row.id for row in found if not row.enabled]
    if disabled:
        now = list(session.exec(_LOCKED, params={"ids": disabled}))
        found = [row for row in found if row.enabled] + now
    return [row for row in found if wants(row, event_type)]


_HEARS = (
    select(Endpoint)
    .where(or_(endpoints.c.owner == bindparam("of_owner"), endpoints.c.sees_all))
    .order_by(endpoints.c.id)
)
_IDS: BindParameter[str] = bindparam("ids", expanding=True)
_LOCKED = select(Endpoint).where(endpoints.c.id.in_(_IDS)).order_by(endpoints.c.id).with_for_update(read=True)


def wants(endpoint: Endpoint, event_type: str) -> bool:
    """An empty list of types stands for all."""
    return not endpoint.event_types or event_type in endpoint.event_types


def get(session: Session, endpoint_id: str, owner: str | None) -> Endpoint | None:
    """One endpoint of `owner`'s, or anybody's for None."""
    query = select(Endpoint).where(endpoints.c.id == endpoint_id, *_of(owner))
    return session.exec(query).one_or_none()


def of_ids(session: Session, ids: Collection[str], owner: str | None) -> dict[str, Endpoint]:
    """Those of some endpoints that are `owner`'s, or anybody's for None, by id."""
    if not ids:
        return {}
    query = select(Endpoint).where(endpoints.c.id.in_(ids), *_of(owner))
    return {row.id: row for row in list(session.exec(query))}


def page_of(session: Session, owner: str | None, page: Page) -> list[Endpoint]:
    """One page, and one more row if there is a next one."""
    query = cut(select(Endpoint).where(*_of(owner)), endpoints, page)
    return list(session.exec(query))


def change(session: Session, endpoint_id: str, values: dict[str, Any]) -> Endpoint | None:
    """Set columns; the row as it is afterwards, None when it is gone."""
    if not values:
        return get(session, endpoint_id, None)
    mine = update(Endpoint).where(endpoints.c.id == endpoint_id)
    return changed(session, mine.values(**values).returning(Endpoint)).one_or_none()


def disable(session: Session, endpoint_id: str, *, now_ms: int, reason: str | None) -> Endpoint | None:
    """Send it nothing more and hold what comes; None when it was disabled before or is gone."""
    mine = update(Endpoint).where(endpoints.c.id == endpoint_id, endpoints.c.enabled).returning(Endpoint)
    values = {"enabled": False, "disabled_at_ms": now_ms, "disabled_reason": reason}
    disabled = changed(session, mine.values(**values)).one_or_none()
    if disabled is not None:
        holding.hold(session, endpoint_id, now_ms)
    return disabled


def enable(session: Session, endpoint_id: str) -> None:
    """Send it what was held, and take it for healthy."""
    values = {"enabled": True, "disabled_at_ms": None, "disabled_reason": None}
    session.exec(update(endpoints).where(endpoints.c.id == endpoint_id).values(**values))
    receivers.mark_healthy(session, [endpoint_id])
    holding.give_back(session, endpoint_id)


def remove(session: Session, endpoint_id: str) -> None:
    """Delete one; its deliveries stay to be read, and what was not delivered says why."""
    session.exec(delete(endpoints).where(endpoints.c.id == endpoint_id))
    receivers.forget(session, endpoint_id)
    deliveries.abandon(session, endpoint_id)


def _of(owner: str | None) -> list[ColumnElement[bool]]:
    return [] if owner is None else [endpoints.c.owner == owner]
