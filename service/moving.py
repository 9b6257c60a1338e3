"""Moves a relay from SQLite to PostgreSQL: all of it in one transaction, or nothing."""

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from service.engines import engine_url, sqlite_engine
from service.errors import ConfigurationError
from service.revisions import HEAD, current_revision
from service.store import transfer


async def move(source_url: str, target_url: str) -> dict[str, int]:
    """Copy everything; gives back how many rows each table has now.

    The source must have no relay running and is not changed. Both need this release's schema. Raises
    ConfigurationError when either is not so, or when the target has rows.
    """
    source_engine, target_engine = sqlite_engine(source_url, 1), create_async_engine(engine_url(target_url))
    try:
        with source_engine.begin() as source:
            source.exec_driver_sql("BEGIN")  # one view of the file, from the first row to the last
            async with target_engine.begin() as target:
                return await target.run_sync(lambda connection: _copy(source, connection))
    finally:
        source_engine.dispose()
        await target_engine.dispose()


def _copy(source: Connection, target: Connection) -> dict[str, int]:
    for name, connection in (("--from", source), ("--to", target)):
        _require_schema(name, connection)
    transfer.keep_others_out(target)
    if taken := [name for name, rows in transfer.count_all(target).items() if rows]:
        raise ConfigurationError(f"--to: the database is not empty, it has rows in {', '.join(taken)}")
    transfer.copy_all(source, target)
    there, here = transfer.count_all(source), transfer.count_all(target)
    if there != here:
        raise ConfigurationError("--to: something else writes to that database")
    return here


def _require_schema(name: str, connection: Connection) -> None:
    current = current_revision(connection)
    if current != HEAD:
        raise ConfigurationError(
            f"{name}: the schema is at {current or 'nothing'}, needed is {HEAD}; "
            "run `soniox-relay migrate --post-deploy` with it as DATABASE_URL"
        )
