"""Downstream subscribers."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, bindparam, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store import deliveries, holding, receivers
from service.store.changes import insert_all
from service.store.paging import Page, cut
from service.store.rows import as_model, as_models
from service.tables import Endpoint, Receiver, table_of

endpoints = table_of(Endpoint)


async def add(connection: AsyncConnection, endpoint: Endpoint) -> None:
    """Insert one."""
    await insert_all(connection, [endpoint])
    await insert_all(connection, [Receiver(id=endpoint.id)])


async def subscribed(connection: AsyncConnection, owner: str, event_type: str) -> list[Endpoint]:
    """Who hears of an event of `owner`'s; disabled ones too, for which it is held.

    A disabled one is read again under a lock: else one that is just being enabled might never get what is held
    for it in the same moment.
    """
    found = as_models(Endpoint, await connection.execute(_HEARS, {"of_owner": owner}))
    disabled = [row.id for row in found if not row.enabled]
    if disabled:
        now = as_models(Endpoint, await connection.execute(_LOCKED, {"ids": disabled}))
        found = [row for row in found if row.enabled] + now
    return [row for row in found if wants(row, event_type)]


_HEARS = (
    select(endpoints)
    .where(or_(endpoints.c.owner == bindparam("of_owner"), endpoints.c.sees_all))
    .order_by(endpoints.c.id)
)
_IDS: BindParameter[str] = bindparam("ids", expanding=True)
_LOCKED = select(endpoints).where(endpoints.c.id.in_(_IDS)).order_by(endpoints.c.id).with_for_update(read=True)


def wants(endpoint: Endpoint, event_type: str) -> bool:
    """An empty list of types stands for all."""
    return not endpoint.event_types or event_type in endpoint.event_types


async def get(connection: AsyncConnection, endpoint_id: str, owner: str | None) -> Endpoint | None:
    """One endpoint of `owner`'s, or anybody's for None."""
    query = select(endpoints).where(endpoints.c.id == endpoint_id, *_of(owner))
    return as_model(Endpoint, await connection.execute(query))


async def of_ids(connection: AsyncConnection, ids: Collection[str], owner: str | None) -> dict[str, Endpoint]:
    """Those of some endpoints that are `owner`'s, or anybody's for None, by id."""
    if not ids:
        return {}
    query = select(endpoints).where(endpoints.c.id.in_(ids), *_of(owner))
    return {row.id: row for row in as_models(Endpoint, await connection.execute(query))}


async def page_of(connection: AsyncConnection, owner: str | None, page: Page) -> list[Endpoint]:
    """One page, and one more row if there is a next one."""
    query = cut(select(endpoints).where(*_of(owner)), endpoints, page)
    return as_models(Endpoint, await connection.execute(query))


async def change(connection: AsyncConnection, endpoint_id: str, values: dict[str, Any]) -> Endpoint | None:
    """Set columns; the row as it is afterwards, None when it is gone."""
    if not values:
        return await get(connection, endpoint_id, None)
    changed = update(endpoints).where(endpoints.c.id == endpoint_id).values(**values).returning(*endpoints.c)
    return as_model(Endpoint, await connection.execute(changed))


async def disable(
    connection: AsyncConnection, endpoint_id: str, *, now_ms: int, reason: str | None
) -> Endpoint | None:
    """Send it nothing more and hold what comes; None when it was disabled before or is gone."""
    mine = update(endpoints).where(endpoints.c.id == endpoint_id, endpoints.c.enabled)
    values = {"enabled": False, "disabled_at_ms": now_ms, "disabled_reason": reason}
    disabled = as_model(Endpoint, await connection.execute(mine.values(**values).returning(*endpoints.c)))
    if disabled is not None:
        await holding.hold(connection, endpoint_id, now_ms)
    return disabled


async def enable(connection: AsyncConnection, endpoint_id: str) -> None:
    """Send it what was held, and take it for healthy."""
    values = {"enabled": True, "disabled_at_ms": None, "disabled_reason": None}
    await connection.execute(update(endpoints).where(endpoints.c.id == endpoint_id).values(**values))
    await receivers.mark_healthy(connection, [endpoint_id])
    await holding.give_back(connection, endpoint_id)


async def remove(connection: AsyncConnection, endpoint_id: str) -> None:
    """Delete one; its deliveries stay to be read, and what was not delivered says why."""
    await connection.execute(delete(endpoints).where(endpoints.c.id == endpoint_id))
    await receivers.forget(connection, endpoint_id)
    await deliveries.abandon(connection, endpoint_id)


def _of(owner: str | None) -> list[ColumnElement[bool]]:
    return [] if owner is None else [endpoints.c.owner == owner]
