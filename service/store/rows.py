"""Rows in and out, alike for all tables."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, ParamSpec, TypeVar, cast

import msgspec
from sqlalchemy import Boolean, CursorResult, Float, Insert, Integer, String, Table, TextClause, insert, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeDecorator, TypeEngine
from sqlmodel import SQLModel

from service.tables import table_of

Row = Sequence[str | int | float | bool | None]

NUL = rb"\u0000"  # as JSON has it

M = TypeVar("M", bound=SQLModel)
P = ParamSpec("P")


def as_models(model: type[M], result: CursorResult[Any]) -> list[M]:
    """The rows, typed as their model. They stay plain named tuples: reading them costs nothing."""
    return cast("list[M]", result.all())


def as_model(model: type[M], result: CursorResult[Any]) -> M | None:
    """The only row or None, typed like `as_models`."""
    return cast("M | None", result.one_or_none())


def new(model: Callable[P, M], /, *_: P.args, **values: P.kwargs) -> M:
    """A row to be inserted, typed as its model but without the cost of one, which is a hundred times as much.

    It has the columns that are given and the defaults of the others, and is not validated.
    """
    kind, defaults, makers = _light(cast("type[M]", model))
    row = kind()
    row.__dict__ = {**defaults, **values}
    for name, make in makers:
        row.__dict__.setdefault(name, make())
    return cast("M", row)


async def insert_all(connection: AsyncConnection, rows: Sequence[SQLModel]) -> None:
    """Insert rows of one table in one round trip."""
    if rows:
        values = [values_of(row) for row in rows]
        await insert_values(connection, table_of(type(rows[0])), values)


async def insert_values(connection: AsyncConnection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """The same for the values of rows that all have the same columns."""
    names = tuple(rows[0])
    whole = _from_json(connection.dialect.name, table, names)
    if whole is not None:
        await connection.execute(whole, {"rows": as_json([[row[name] for name in names] for row in rows])})
    else:
        await connection.execute(_insertion(table), rows)


async def run_with(
    connection: AsyncConnection, statement: str, columns: Mapping[str, str], rows: Sequence[Row]
) -> CursorResult[Any]:
    """Run a statement that has `{given}` where it reads these rows, of columns as `given` has them."""
    whole = _with_rows(connection.dialect.name, statement, tuple(columns.items()))
    return await connection.execute(whole, {"rows": as_json(rows)})


@cache
def _with_rows(dialect: str, statement: str, columns: tuple[tuple[str, str], ...]) -> TextClause:
    return text(statement.format(given=given(dialect, dict(columns))))


def given(dialect: str, columns: Mapping[str, str]) -> str:
    """A SELECT of the parameter `rows`, made by `as_json`, as columns of these names and PostgreSQL's types.

    All rows in one parameter: bound one by one, a batch would take the interpreter's time for each row, and on
    SQLite hand its lock over and back for each.
    """
    if dialect == "sqlite":
        found = [f"json_extract(value, '$[{place}]') AS {name}" for place, name in enumerate(columns)]
        return f"SELECT {', '.join(found)} FROM json_each(:rows)"  # noqa: S608  # names of ours
    found = [f"CAST(value ->> {place} AS {kind}) AS {name}" for place, (name, kind) in enumerate(columns.items())]
    return f"SELECT {', '.join(found)} FROM json_array_elements(CAST(:rows AS json)) AS each (value)"  # noqa: S608


def as_json(rows: Sequence[Row]) -> str:
    """The parameter of `given`; without NUL, which neither database holds in a text."""
    content = msgspec.json.encode(rows)
    if NUL in content:
        clean = [[value.replace("\0", "") if isinstance(value, str) else value for value in row] for row in rows]
        content = msgspec.json.encode(clean)
    return content.decode()


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
def _insertion(table: Table) -> Insert:
    return insert(table)


@cache
def _from_json(dialect: str, table: Table, names: tuple[str, ...]) -> TextClause | None:
    """None for a table with bytes or documents, which are better bound as they are."""
    kinds = [_kind(table.c[name].type) for name in names]
    if None in kinds:
        return None
    listed, columns = ", ".join(names), dict(zip(names, map(str, kinds), strict=True))
    return text(f"INSERT INTO {table.name} ({listed}) SELECT {listed} FROM ({given(dialect, columns)}) AS given")  # noqa: S608  # names of ours


def _kind(given_type: TypeEngine[Any]) -> str | None:
    """PostgreSQL's word for what JSON can say, None for anything else."""
    plain = given_type.impl_instance if isinstance(given_type, TypeDecorator) else given_type
    return next((kind for base, kind in KINDS if isinstance(plain, base)), None)


KINDS: tuple[tuple[type[TypeEngine[Any]], str], ...] = (
    (String, "text"),
    (Boolean, "boolean"),
    (Integer, "bigint"),
    (Float, "double precision"),
)


class _Light:
    """What stands in for a model's row."""


@cache
def _light(
    model: type[SQLModel],
) -> tuple[type[_Light], dict[str, Any], list[tuple[str, Callable[[], Any]]]]:
    """A class with the model's table, its plain defaults, and the makers of the others."""
    kind = type(model.__name__, (_Light,), {"__table__": table_of(model)})
    defaults, makers = {}, []
    for name, info in model.model_fields.items():
        if info.default_factory is not None:
            makers.append((name, cast("Callable[[], Any]", info.default_factory)))
        elif not info.is_required():
            defaults[name] = info.default
    return kind, defaults, makers


@cache
def _columns(model: type[SQLModel]) -> frozenset[str]:
    return frozenset(table_of(model).columns.keys())


def _is_unset_serial(name: str, value: Any) -> bool:
    return name in {"id", "seq"} and value is None
