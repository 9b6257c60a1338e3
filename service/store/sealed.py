"""What is sealed with a master secret, page by page and locked, so that it can be sealed anew."""

from typing import Any

from sqlalchemy import Table, update
from sqlmodel import Session, select

from service.tables import Endpoint, Transcription, table_of

endpoints = table_of(Endpoint)
jobs = table_of(Transcription)

SEALED: dict[Table, tuple[str, ...]] = {
    endpoints: ("secret_sealed", "headers_sealed", "past_secrets"),
    jobs: ("callback_secret_sealed",),
}


def page(session: Session, table: Table, after: str, limit: int) -> list[dict[str, Any]]:
    """Id and sealed columns of up to `limit` rows behind the id `after`, held until the commit."""
    columns = [table.c[name] for name in SEALED[table]]
    query = select(table.c.id, *columns).where(table.c.id > after, columns[0].is_not(None))
    found = session.exec(query.order_by(table.c.id).limit(limit).with_for_update())
    return [dict(row) for row in found.mappings()]


def put(session: Session, table: Table, row_id: str, values: dict[str, Any]) -> None:
    """Set sealed columns of one row."""
    session.exec(update(table).where(table.c.id == row_id).values(**values))
