"""What changes whenever anything happens: the newest of what is only ever appended."""

from sqlalchemy import func
from sqlmodel import Session, select

from service.tables import Attempt, Sweep, TimelineEntry, Webhook, table_of

COLUMNS = (
    table_of(TimelineEntry).c.id,
    table_of(Attempt).c.id,
    table_of(Webhook).c.id,
    table_of(Sweep).c.started_at_ms,
)


def newest(session: Session) -> tuple[object, ...]:
    """Each is the last entry of an index."""
    query = select(*[select(func.max(column)).scalar_subquery() for column in COLUMNS])
    return tuple(session.exec(query).one())
