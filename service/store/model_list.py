"""Soniox's list of models as last heard: one row."""

from sqlmodel import Session, select

from service.store.rows import upsert, values_of
from service.tables import ModelList, table_of

lists = table_of(ModelList)

ONLY = 1


def get(session: Session) -> ModelList | None:
    """The list, if there ever was one."""
    return session.exec(select(ModelList)).one_or_none()


def put(session: Session, heard: ModelList) -> None:
    """Replace it."""
    told = {"fetched_at_ms": heard.fetched_at_ms, "body": heard.body}
    statement = upsert(session, lists).values(**values_of(heard))
    session.exec(statement.on_conflict_do_update(index_elements=[lists.c.id], set_=told))
