"""Downstream subscribers."""

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.rows import as_model, as_models, insert_all
from service.tables import Endpoint, table_of

endpoints = table_of(Endpoint)


async def add(connection: AsyncConnection, endpoint: Endpoint) -> None:
    """Insert one."""
    await insert_all(connection, [endpoint])


async def subscribed(connection: AsyncConnection, owner: str, event_type: str) -> list[Endpoint]:
    """Who hears of an event of `owner`'s."""
    whose = or_(endpoints.c.owner == owner, endpoints.c.sees_all)
    query = select(endpoints).where(endpoints.c.enabled, whose)
    return [row for row in as_models(Endpoint, await connection.execute(query)) if wants(row, event_type)]


def wants(endpoint: Endpoint, event_type: str) -> bool:
    """An empty list of types stands for all."""
    return not endpoint.event_types or event_type in endpoint.event_types


async def get(connection: AsyncConnection, endpoint_id: str) -> Endpoint | None:
    """One endpoint, whoever owns it."""
    return as_model(Endpoint, await connection.execute(select(endpoints).where(endpoints.c.id == endpoint_id)))


async def list_of(connection: AsyncConnection, owner: str | None) -> list[Endpoint]:
    """Those of `owner`, or all for None, oldest first."""
    query = select(endpoints).order_by(endpoints.c.created_at_ms, endpoints.c.id)
    if owner is not None:
        query = query.where(endpoints.c.owner == owner)
    return as_models(Endpoint, await connection.execute(query))
