"""Rows in and out, alike for all tables."""

from collections.abc import Callable
from functools import cache
from typing import Any, ParamSpec, TypeVar, cast

from sqlalchemy import CursorResult, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import SQLModel

from service.tables import table_of

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
