"""Wake-ups: a commit that leaves a due row wakes the worker that claims it, in every process."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import structlog


class Notifier:
    """One bell for each lane of work, in this process."""

    def __init__(self) -> None:
        self._bells: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._rung: set[str] = set()
        self._anything = asyncio.Event()

    def ring(self, lane: str) -> None:
        """Wake the lane here and, if others listen, in the other processes."""
        self.ring_here(lane)
        self._rung.add(lane)
        self._anything.set()

    def ring_here(self, lane: str) -> None:
        """Wake the lane, or have it go straight on if it is not asleep."""
        self._bells[lane].set()

    async def wait(self, lane: str, longest_s: float) -> bool:
        """Sleep until somebody rings or `longest_s` seconds have passed; True when somebody did."""
        bell = self._bells[lane]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(longest_s):
                await bell.wait()
        rung = bell.is_set()
        bell.clear()
        return rung

    async def take_rung(self) -> set[str]:
        """Wait for a ring; all lanes that were rung since the last call."""
        await self._anything.wait()
        self._anything.clear()
        rung, self._rung = self._rung, set()
        return rung


log = structlog.get_logger(__name__)

CHANNEL = "relay_wakeups"
MIN_INTERVAL_S = 0.01
RETRY_AFTER_S = 2.0


@asynccontextmanager
async def listen(database_url: str, wakeups: Notifier) -> AsyncIterator[None]:
    """Pass rings on until the block ends; does nothing on SQLite, where there is one process."""
    if database_url.startswith("sqlite"):
        yield
        return
    task = asyncio.create_task(_listen_forever(database_url.replace("postgres://", "postgresql://", 1), wakeups))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _listen_forever(database_url: str, wakeups: Notifier) -> None:
    while True:
        try:
            await _forward(database_url, wakeups)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            log.warning("broadcast_interrupted", reason=type(error).__name__)
        await asyncio.sleep(RETRY_AFTER_S)


async def _forward(database_url: str, wakeups: Notifier) -> None:
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
            await asyncio.sleep(MIN_INTERVAL_S)
    finally:
        await connection.close(timeout=2)
