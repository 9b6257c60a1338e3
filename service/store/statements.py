"""Rows in, alike for all tables and both databases."""

from collections.abc import Sequence
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import ScalarResult, Table, insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningDelete, ReturningUpdate
from sqlmodel import Session, SQLModel

from service.tables import table_of

M = TypeVar("M")


def is_sqlite(session: Session) -> bool:
    """Which of the two databases it is."""
    return session.get_bind().dialect.name == "sqlite"


def insert_all(session: Session, rows: Sequence[SQLModel]) -> None:
    """Insert rows of one table, as values: the session does not remember them, so a step may run again."""
    if rows:
        session.exec(insert(table_of(type(rows[0]))), params=[values_of(row) for row in rows])


def changed(
    session: Session, statement: ReturningUpdate[M] | ReturningDelete[M], params: Any = None
) -> ScalarResult[M]:
    """The rows that a change gives back, as models. A session has none of them that would have to follow."""
    return session.scalars(statement, params, execution_options={"synchronize_session": False})


def values_of(row: SQLModel) -> dict[str, Any]:
    """Column values of a new row; a serial key is left to the database."""
    return {name: value for name in _columns(type(row)) if not _is_unset_serial(name, value := getattr(row, name))}


def upsert(session: Session, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that can say ON CONFLICT, in the session's dialect."""
    return upsert_on(table, on_sqlite=is_sqlite(session))


def upsert_on(table: Table, *, on_sqlite: bool) -> postgresql.Insert | sqlite.Insert:
    """The same for hot paths, which build their statement once: that takes longer than to run it."""
    return sqlite.insert(table) if on_sqlite else postgresql.insert(table)


@cache
def _columns(model: type[SQLModel]) -> tuple[str, ...]:
    return tuple(table_of(model).columns.keys())


def _is_unset_serial(name: str, value: Any) -> bool:
    return name in {"id", "seq"} and value is None
