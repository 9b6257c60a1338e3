"""Rows in and out, alike for all tables."""

from collections.abc import Sequence
from functools import cache
from typing import Any, TypeVar, cast

from sqlalchemy import CursorResult, Insert, Table, insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import SQLModel

from service.tables import table_of

M = TypeVar("M", bound=SQLModel)


def as_models(model: type[M], result: CursorResult[Any]) -> list[M]:
    """The rows, typed as their model. They stay plain named tuples: reading them costs nothing."""
    return cast("list[M]", result.all())


def as_model(model: type[M], result: CursorResult[Any]) -> M | None:
    """The only row or None, typed like `as_models`."""
    return cast("M | None", result.one_or_none())


async def insert_all(connection: AsyncConnection, rows: Sequence[SQLModel]) -> None:
    """Insert rows of one table in one round trip."""
    if rows:
        await connection.execute(_insertion(type(rows[0])), [values_of(row) for row in rows])


def values_of(row: SQLModel) -> dict[str, Any]:
    """Column values of a new row; a serial key is left to the database."""
    columns = _columns(type(row))
    return {
        name: value
        for name, value in row.__dict__.items()
        if name in columns and not _is_unset_serial(name, value)
    }


def upsert(connection: AsyncConnection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that can say ON CONFLICT, in the connection's dialect."""
    return insertion_for(connection.dialect.name, table)


def insertion_for(dialect: str, table: Table) -> postgresql.Insert | sqlite.Insert:
    """The same for those who keep the statement."""
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


@cache  # building a statement takes longer than running it
def _insertion(model: type[SQLModel]) -> Insert:
    return insert(table_of(model))


@cache
def _columns(model: type[SQLModel]) -> frozenset[str]:
    return frozenset(table_of(model).columns.keys())


def _is_unset_serial(name: str, value: Any) -> bool:
    return name in {"id", "seq"} and value is None
