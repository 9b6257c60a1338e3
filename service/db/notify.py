"""Notifications: a commit that leaves a due row wakes the worker that claims it, in every process."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import structlog


class Notifier:
    """One asyncio event for each queue, in this process."""

    def __init__(self) -> None:
        self._events: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._pending: set[str] = set()
        self._any = asyncio.Event()

    def notify(self, queue: str) -> None:
        """Wake the queue in this process and in all that listen."""
        self.notify_local(queue)
        self._pending.add(queue)
        self._any.set()

    def notify_local(self, queue: str) -> None:
        """Wake the queue in this process. If it is not waiting, its next wait returns immediately."""
        self._events[queue].set()

    async def wait(self, queue: str, longest_s: float) -> bool:
        """Wait for a notification, at most `longest_s` seconds. Return True when there was one."""
        event = self._events[queue]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(longest_s):
                await event.wait()
        notified = event.is_set()
        event.clear()
        return notified

    async def drain(self) -> set[str]:
        """Wait for a notification. Return all queues notified since the last call."""
        await self._any.wait()
        self._any.clear()
        notified, self._pending = self._pending, set()
        return notified


log = structlog.get_logger(__name__)

CHANNEL = "relay_wakeups"
MIN_INTERVAL_S = 0.01
RETRY_AFTER_S = 2.0


@asynccontextmanager
async def listen(database_url: str, notifier: Notifier) -> AsyncIterator[None]:
    """Exchange notifications with other processes until the block ends.

    Does nothing on SQLite, where there is one process.
    """
    if database_url.startswith("sqlite"):
        yield
        return
    task = asyncio.create_task(_listen_forever(database_url.replace("postgres://", "postgresql://", 1), notifier))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _listen_forever(database_url: str, notifier: Notifier) -> None:
    while True:
        try:
            await _forward(database_url, notifier)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            log.warning("notify_connection_lost", reason=type(error).__name__)
        await asyncio.sleep(RETRY_AFTER_S)


async def _forward(database_url: str, notifier: Notifier) -> None:
    connection = await asyncpg.connect(database_url, timeout=10)
    try:
        own_pid = connection.get_server_pid()

        def hear(_connection: Any, pid: int, _channel: str, queue: str) -> None:
            if pid != own_pid:
                notifier.notify_local(queue)

        await connection.add_listener(CHANNEL, hear)
        while True:
            queues = await notifier.drain()
            await connection.execute(
                "SELECT pg_notify($1, queue) FROM unnest($2::text[]) AS queue", CHANNEL, queues
            )
            await asyncio.sleep(MIN_INTERVAL_S)
    finally:
        await connection.close(timeout=2)
