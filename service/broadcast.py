"""Passes wake-ups between the processes on one PostgreSQL, with LISTEN and NOTIFY.

NOTIFY is sent after the commit, as a statement of its own: inside the transaction it would make all commits of
the cluster wait for one another (measured: 33,000 to 7,000 a second). A pooler in transaction mode
cannot LISTEN: then this connection goes past it (RELAY_DATABASE_DIRECT_URL).
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import structlog

from service.wakeups import Wakeups

log = structlog.get_logger(__name__)

CHANNEL = "relay_wakeups"
AT_MOST_EVERY_S = 0.01
TRY_AGAIN_AFTER_S = 2.0


@asynccontextmanager
async def broadcasting(database_url: str, wakeups: Wakeups) -> AsyncIterator[None]:
    """Pass rings on until the block ends; does nothing on SQLite, where there is one process."""
    if database_url.startswith("sqlite"):
        yield
        return
    task = asyncio.create_task(_stay_connected(database_url.replace("postgres://", "postgresql://", 1), wakeups))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _stay_connected(database_url: str, wakeups: Wakeups) -> None:
    while True:
        try:
            await _pass_on(database_url, wakeups)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            log.warning("broadcast_interrupted", reason=type(error).__name__)
        await asyncio.sleep(TRY_AGAIN_AFTER_S)


async def _pass_on(database_url: str, wakeups: Wakeups) -> None:
    connection = await asyncpg.connect(database_url, timeout=10)
    try:
        own_pid = connection.get_server_pid()

        def hear(_connection: Any, pid: int, _channel: str, lane: str) -> None:
            if pid != own_pid:
                wakeups.ring_here(lane)

        await connection.add_listener(CHANNEL, hear)
        while True:
            lanes = await wakeups.take_rung()
            await connection.execute("SELECT pg_notify($1, lane) FROM unnest($2::text[]) AS lane", CHANNEL, lanes)
            await asyncio.sleep(AT_MOST_EVERY_S)
    finally:
        await connection.close(timeout=2)
