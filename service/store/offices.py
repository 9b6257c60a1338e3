"""Tasks that one process does for all."""

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.rows import as_model, upsert
from service.tables import Office, table_of

offices = table_of(Office)


async def take(connection: AsyncConnection, name: str, holder: str, *, now_ms: int, until_ms: int) -> bool:
    """Take or renew an office; False while another holder's time lasts."""
    insertion = upsert(connection, offices).values(name=name, holder=holder, until_ms=until_ms)
    free = or_(offices.c.holder == holder, offices.c.until_ms <= now_ms)
    values = {"holder": holder, "until_ms": until_ms}
    statement = insertion.on_conflict_do_update(index_elements=["name"], set_=values, where=free)
    return (await connection.execute(statement)).rowcount == 1


async def get(connection: AsyncConnection, name: str) -> Office | None:
    """Who holds it."""
    return as_model(Office, await connection.execute(select(offices).where(offices.c.name == name)))
