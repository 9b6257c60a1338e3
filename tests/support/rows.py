"""What a database holds, for tests that look behind the API."""

from typing import Any, TypeVar

from sqlalchemy import text
from sqlmodel import Session, SQLModel, select

from service.db.database import Database

M = TypeVar("M", bound=SQLModel)


async def all_of(db: Database, model: type[M]) -> list[M]:
    """Every row of one table, in no particular order."""
    return await db.read(lambda session: list(session.exec(select(model))))


async def value(db: Database, statement: str, **values: Any) -> Any:
    """The only value of the only row."""
    return await db.read(lambda session: session.execute(text(statement), values).scalar_one())


async def first_column(db: Database, statement: str) -> list[Any]:
    """The first value of each row."""
    return await db.read(lambda session: list(session.execute(text(statement)).scalars()))


async def plan(db: Database, statement: str) -> list[str]:
    """How SQLite goes about a statement, step by step."""

    def explain(session: Session) -> list[str]:
        return [row[3] for row in session.execute(text(f"EXPLAIN QUERY PLAN {statement}"))]

    return await db.read(explain)
