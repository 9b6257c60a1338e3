"""Soniox's list of models as last heard: one row."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.rows import as_model, upsert, values_of
from service.tables import ModelList, table_of

lists = table_of(ModelList)

ONLY = 1


async def get(connection: AsyncConnection) -> ModelList | None:
    """The list, if there ever was one."""
    return as_model(ModelList, await connection.execute(select(lists)))


async def put(connection: AsyncConnection, heard: ModelList) -> None:
    """Replace it."""
    told = {"fetched_at_ms": heard.fetched_at_ms, "body": heard.body}
    statement = upsert(connection, lists).values(**values_of(heard))
    await connection.execute(statement.on_conflict_do_update(index_elements=[lists.c.id], set_=told))
