"""What changes whenever anything happens: the newest of what is only ever appended."""

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.tables import Attempt, Sweep, TimelineEntry, Webhook, table_of

COLUMNS = (
    table_of(TimelineEntry).c.id,
    table_of(Attempt).c.id,
    table_of(Webhook).c.id,
    table_of(Sweep).c.started_at_ms,
)


async def newest(connection: AsyncConnection) -> tuple[object, ...]:
    """Each is the last entry of an index."""
    query = select(*[select(func.max(column)).scalar_subquery() for column in COLUMNS])
    return tuple((await connection.execute(query)).one())
