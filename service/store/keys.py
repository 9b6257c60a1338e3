"""API keys, known by their hashes."""

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.changes import insert_all
from service.store.rows import as_model, as_models
from service.tables import ApiKey, table_of

keys = table_of(ApiKey)


async def add(connection: AsyncConnection, key: ApiKey) -> None:
    """Insert one."""
    await insert_all(connection, [key])


async def find(connection: AsyncConnection, digest: str) -> ApiKey | None:
    """The valid key with this hash."""
    query = select(keys).where(keys.c.hash == digest, keys.c.revoked_at_ms.is_(None))
    return as_model(ApiKey, await connection.execute(query))


async def get_valid(connection: AsyncConnection, key_id: str) -> ApiKey | None:
    """The key of this id, unless it was revoked."""
    query = select(keys).where(keys.c.id == key_id, keys.c.revoked_at_ms.is_(None))
    return as_model(ApiKey, await connection.execute(query))


async def list_valid(connection: AsyncConnection) -> list[ApiKey]:
    """All keys that were not revoked, oldest first."""
    query = select(keys).where(keys.c.revoked_at_ms.is_(None)).order_by(keys.c.created_at_ms, keys.c.id)
    return as_models(ApiKey, await connection.execute(query))


async def mark_used(connection: AsyncConnection, key_id: str, now_ms: int) -> None:
    """Remember the last use."""
    await connection.execute(update(keys).where(keys.c.id == key_id).values(last_used_at_ms=now_ms))


async def revoke(connection: AsyncConnection, key_id: str, now_ms: int) -> bool:
    """End a key; False when there is no valid one of that id."""
    valid = (keys.c.id == key_id) & keys.c.revoked_at_ms.is_(None)
    return (await connection.execute(update(keys).where(valid).values(revoked_at_ms=now_ms))).rowcount == 1
