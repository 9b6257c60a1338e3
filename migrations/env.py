"""Alembic's entry: one schema for SQLite and PostgreSQL."""

import asyncio
import os

from alembic import context
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import SQLModel
from sqlmodel.sql.sqltypes import AutoString

import service.tables  # noqa: F401  # fills the metadata
from service.db.engines import engine_url
from service.db.schema import is_newer

LOCK = 7_203_003  # an arbitrary number that names this lock in PostgreSQL
LOCK_TIMEOUT = "5s"  # a migration that waits for a table would make everybody else wait behind it


def plain_strings(kind: str, item: object, _context: object) -> str | bool:
    """Write SQLModel's string type as SQLAlchemy's, so that a revision needs only the latter."""
    return "sa.String()" if kind == "type" and isinstance(item, AutoString) else False


def not_for_search(name: str | None, kind: str, _parents: object) -> bool:
    """Leave out what revision 0002 makes by hand: the models cannot say it."""
    return not (kind == "table" and name is not None and name.startswith("search_words"))


def run(connection: Connection) -> None:
    """Migrate on an open connection; two at once on PostgreSQL take turns."""
    context.configure(
        connection=connection,
        target_metadata=SQLModel.metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
        render_item=plain_strings,
        include_name=not_for_search,
    )
    with context.begin_transaction():
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
            connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
        if not is_newer(connection):
            context.run_migrations()


def run_on_sqlite(url: str) -> None:
    """Migrate a file."""
    engine = create_engine(url)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        run(connection)
        connection.commit()
    engine.dispose()


async def run_on_postgresql(url: str) -> None:
    """Migrate a database behind the driver that the relay uses."""
    engine = create_async_engine(url)
    async with engine.connect() as connection:
        await connection.run_sync(run)
        await connection.commit()
    await engine.dispose()


chosen = context.config.get_main_option("sqlalchemy.url") or engine_url(os.environ["DATABASE_URL"])
if chosen.startswith("sqlite"):
    run_on_sqlite(chosen)
else:
    asyncio.run(run_on_postgresql(chosen))
