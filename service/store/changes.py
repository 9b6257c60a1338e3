"""Changes: statements that read their rows from a parameter, run alone or many in one trip.

All rows of a change are one JSON document that the database takes apart. Bound one by one, a batch would take the
interpreter's time for each row, and on SQLite hand its lock over and back for each. On PostgreSQL, where each
statement waits for the network, many changes make one (docs/decisions/group-commit.md).
"""

import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    JSON,
    Boolean,
    CursorResult,
    Float,
    Insert,
    Integer,
    LargeBinary,
    String,
    Table,
    TextClause,
    insert,
    text,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeDecorator, TypeEngine
from sqlmodel import SQLModel

from service.store.rows import values_of
from service.tables import table_of

Row = Sequence[str | int | float | bool | bytes | dict[str, Any] | list[Any] | None]
Columns = tuple[tuple[str, str], ...]
"""Names, and PostgreSQL's types."""

NUL = rb"\u0000"  # as JSON has it
NULS = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")  # behind backslashes that are meant, in pairs
BOUND = {"bytea", "json"}  # types that are bound as they are where a change runs alone


class Change(NamedTuple):
    """A statement, `sql`, that reads `rows` from a table of this `name`, which no other change in its company has.

    `between` are tables made of that one, for PostgreSQL. `bound` is the same for rows that are bound one by one.
    """

    name: str
    columns: Columns
    rows: Sequence[Row]
    sql: str
    between: str = ""
    bound: Insert | None = None


async def run(connection: AsyncConnection, change: Change) -> CursorResult[Any]:
    """Make one change."""
    if change.bound is not None:
        names = [name for name, _ in change.columns]
        return await connection.execute(change.bound, [dict(zip(names, row, strict=True)) for row in change.rows])
    statement = _statement(connection.dialect.name, change.name, change.columns, change.between, change.sql)
    return await connection.execute(statement, {change.name: as_json(change.rows)})


async def run_together(connection: AsyncConnection, changes: Iterable[Change]) -> None:
    """Make all of these, in their order.

    On PostgreSQL in one trip, where none sees what another one does, or in several if there are some of the same
    name; what comes later is then asked for when the first are made.
    """
    if connection.dialect.name == "sqlite":
        for change in changes:
            await run(connection, change)
        return
    some: dict[str, Change] = {}
    for change in changes:
        if change.name in some:
            await _run_in_one_trip(connection, some)
            some = {}
        some[change.name] = change
    if some:
        await _run_in_one_trip(connection, some)


async def _run_in_one_trip(connection: AsyncConnection, changes: dict[str, Change]) -> None:
    parts = tuple((change.name, change.columns, change.between, change.sql) for change in changes.values())
    rows = {name: as_json(change.rows) for name, change in changes.items()}
    await connection.execute(_statement_of_all(parts), rows)


def insertion(rows: Sequence[SQLModel]) -> list[Change]:
    """New rows of one table; nothing for none."""
    if not rows:
        return []
    values = [values_of(row) for row in rows]
    names = tuple(values[0])
    name, columns, sql, bound = _inserting(table_of(type(rows[0])), names)
    return [Change(name, columns, [[each[name] for name in names] for each in values], sql, bound=bound)]


async def insert_all(connection: AsyncConnection, rows: Sequence[SQLModel]) -> None:
    """Insert rows of one table."""
    for change in insertion(rows):
        await run(connection, change)


def as_json(rows: Sequence[Row]) -> str:
    """The parameter with these rows; without NUL, which neither database holds in a text."""
    content = msgspec.json.encode(rows)
    if NUL in content:
        content = NULS.sub(rb"\1", content)
    return content.decode()


def given(dialect: str, columns: Columns, parameter: str) -> str:
    """A SELECT of a parameter made by `as_json`. SQLite has no way from there to bytes and documents."""
    if dialect == "sqlite":
        found = [f"json_extract(value, '$[{place}]') AS {name}" for place, (name, _) in enumerate(columns)]
        return f"SELECT {', '.join(found)} FROM json_each(:{parameter})"  # noqa: S608  # names of ours
    found = [f"{_taken_out(place, kind)} AS {name}" for place, (name, kind) in enumerate(columns)]
    return f"SELECT {', '.join(found)} FROM json_array_elements(CAST(:{parameter} AS json)) AS each (value)"  # noqa: S608


def _taken_out(place: int, kind: str) -> str:
    match kind:
        case "bytea":
            return f"decode(value ->> {place}, 'base64')"  # as msgspec writes bytes
        case "json":
            return f"value -> {place}"
        case _:
            return f"CAST(value ->> {place} AS {kind})"


@cache
def _statement(dialect: str, name: str, columns: Columns, between: str, sql: str) -> TextClause:
    return text(f"WITH {_tables(dialect, name, columns, between)} {sql}")


@cache
def _statement_of_all(parts: tuple[tuple[str, Columns, str, str], ...]) -> TextClause:
    tables = [
        f"{_tables('postgresql', name, columns, between)}, made_{name} AS ({sql})"
        for name, columns, between, sql in parts
    ]
    return text(f"WITH {', '.join(tables)} SELECT 1")


def _tables(dialect: str, name: str, columns: Columns, between: str) -> str:
    return f"{name} AS ({given(dialect, columns, name)}){between and f', {between}'}"


@cache
def _inserting(table: Table, names: tuple[str, ...]) -> tuple[str, Columns, str, Insert | None]:
    columns = tuple((name, _kind(table.c[name].type)) for name in names)
    name, listed = f"new_{table.name}", ", ".join(names)
    bound = insert(table) if any(kind in BOUND for _, kind in columns) else None
    return name, columns, f"INSERT INTO {table.name} ({listed}) SELECT {listed} FROM {name}", bound  # noqa: S608  # names of ours


def _kind(column: TypeEngine[Any]) -> str:
    """PostgreSQL's word for the type of a column."""
    plain = column.impl_instance if isinstance(column, TypeDecorator) else column
    return next(kind for base, kind in KINDS if isinstance(plain, base))


KINDS: tuple[tuple[type[TypeEngine[Any]], str], ...] = (
    (JSON, "json"),
    (LargeBinary, "bytea"),
    (String, "text"),
    (Boolean, "boolean"),
    (Integer, "bigint"),
    (Float, "double precision"),
)
