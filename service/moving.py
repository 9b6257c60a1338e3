"""Moves a relay from SQLite to PostgreSQL: all of it in one transaction, or nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from service.engines import engine_url, sqlite_engine
from service.errors import ConfigurationError
from service.revisions import HEAD, current_revision
from service.store import moving


async def move(source_url: str, target_url: str) -> dict[str, int]:
    """Copy everything; gives back how many rows each table has now.

    The source must have no relay running and is not changed. Both need this release's schema. Raises
    ConfigurationError when either is not so, or when the target has rows.
    """
    async with _reading(source_url) as source, _writing(target_url) as target:
        for name, connection in (("--from", source), ("--to", target)):
            await _require_schema(name, connection)
        await moving.keep_others_out(target)
        if taken := [name for name, rows in (await moving.count_all(target)).items() if rows]:
            raise ConfigurationError(f"--to: the database is not empty, it has rows in {', '.join(taken)}")
        await moving.copy_all(source, target)
        there, here = await moving.count_all(source), await moving.count_all(target)
        if there != here:
            raise ConfigurationError("--to: something else writes to that database")
        return here


async def _require_schema(name: str, connection: AsyncConnection) -> None:
    current = await connection.run_sync(current_revision)
    if current != HEAD:
        raise ConfigurationError(
            f"{name}: the schema is at {current or 'nothing'}, needed is {HEAD}; "
            "run `soniox-relay migrate --post-deploy` with it as DATABASE_URL"
        )


@asynccontextmanager
async def _reading(url: str) -> AsyncIterator[AsyncConnection]:
    """One view of the file, from the first row to the last."""
    engine = sqlite_engine(url, 1)
    try:
        async with engine.connect() as connection:
            yield connection
    finally:
        await engine.dispose()


@asynccontextmanager
async def _writing(url: str) -> AsyncIterator[AsyncConnection]:
    """One transaction, committed when the block ends well."""
    engine = create_async_engine(engine_url(url))
    try:
        async with engine.begin() as connection:
            yield connection
    finally:
        await engine.dispose()
