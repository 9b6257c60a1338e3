"""Inserts and updates that work alike for all tables and both databases."""

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
    """Return True on SQLite, False on PostgreSQL."""
    return session.get_bind().dialect.name == "sqlite"


def insert_all(session: Session, rows: Sequence[SQLModel]) -> None:
    """Insert rows of one table as values. The session does not track them, so a step may run again."""
    if rows:
        session.exec(insert(table_of(type(rows[0]))), params=[values_of(row) for row in rows])


def changed(
    session: Session, statement: ReturningUpdate[M] | ReturningDelete[M], params: Any = None
) -> ScalarResult[M]:
    """Run an UPDATE or DELETE and return its rows as models. The session tracks no objects to synchronize."""
    return session.scalars(statement, params, execution_options={"synchronize_session": False})


def values_of(row: SQLModel) -> dict[str, Any]:
    """Return the column values of a new row, without a serial key that the database assigns."""
    return {name: value for name in _columns(type(row)) if not _is_unset_serial(name, value := getattr(row, name))}


def upsert(session: Session, table: Table) -> postgresql.Insert | sqlite.Insert:
    """Return an INSERT that supports ON CONFLICT, in the session's dialect."""
    return upsert_on(table, on_sqlite=is_sqlite(session))


def upsert_on(table: Table, *, on_sqlite: bool) -> postgresql.Insert | sqlite.Insert:
    """Like `upsert`, for hot paths that cache their statement: building it takes longer than running it."""
    return sqlite.insert(table) if on_sqlite else postgresql.insert(table)


@cache
def _columns(model: type[SQLModel]) -> tuple[str, ...]:
    return tuple(table_of(model).columns.keys())


def _is_unset_serial(name: str, value: Any) -> bool:
    return name in {"id", "seq"} and value is None
