"""Rows in a second when each is committed alone: `python -m bench.commits DATABASE_URL` prints the number."""

import asyncio
import sqlite3
import sys
import time
import uuid

import asyncpg

ROWS = 400
TABLE = "CREATE TABLE IF NOT EXISTS single (id TEXT PRIMARY KEY, word TEXT)"
INSERT = "INSERT INTO single (id, word) VALUES ('{}', 'completed')"


def on_sqlite(path: str) -> float:
    """One connection, as durable as the relay's."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(TABLE)
    started = time.perf_counter()
    for _ in range(ROWS):
        connection.execute(INSERT.format(uuid.uuid4()))
    return ROWS / (time.perf_counter() - started)


async def on_postgres(url: str) -> float:
    """One connection."""
    connection = await asyncpg.connect(url)
    await connection.execute(TABLE)
    started = time.perf_counter()
    for _ in range(ROWS):
        await connection.execute(INSERT.format(uuid.uuid4()))
    return ROWS / (time.perf_counter() - started)


if __name__ == "__main__":
    url = sys.argv[1]
    sqlite = url.startswith("sqlite:///")
    print(on_sqlite(url.removeprefix("sqlite:///")) if sqlite else asyncio.run(on_postgres(url)))
