"""Databases for benchmarks: SQLite in a folder that goes away, and a PostgreSQL of their own."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from service.migrate import upgrade
from tests.support.postgres import aside, execute, postgres_server


@asynccontextmanager
async def databases() -> AsyncIterator[dict[str, str]]:
    """URLs of an empty, migrated database of each kind."""
    with tempfile.TemporaryDirectory() as folder, postgres_server() as server:
        await execute(server, "CREATE DATABASE relay_bench")
        urls = {"SQLite": f"sqlite:///{Path(folder) / 'relay.db'}", "PostgreSQL": f"{server}/relay_bench"}
        for url in urls.values():
            aside(upgrade, url)
        yield urls
