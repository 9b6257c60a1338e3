"""Rows in, alike for all tables and both databases."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import Table, insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, SQLModel

from service.tables import table_of


def is_sqlite(session: Session) -> bool:
    """Which of the two databases it is."""
    return session.get_bind().dialect.name == "sqlite"


def insert_all(session: Session, rows: Sequence[SQLModel]) -> None:
    """Insert rows of one table, as values: the session does not remember them, so a step may run again."""
    if rows:
        session.exec(insert(table_of(type(rows[0]))), params=[values_of(row) for row in rows])


def values_of(row: SQLModel) -> dict[str, Any]:
    """Column values of a new row; a serial key is left to the database."""
    return {name: value for name in _columns(type(row)) if not _is_unset_serial(name, value := getattr(row, name))}


def upsert(session: Session, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that can say ON CONFLICT, in the session's dialect."""
    return sqlite.insert(table) if is_sqlite(session) else postgresql.insert(table)


@cache
def _columns(model: type[SQLModel]) -> tuple[str, ...]:
    return tuple(table_of(model).columns.keys())


def _is_unset_serial(name: str, value: Any) -> bool:
    return name in {"id", "seq"} and value is None
