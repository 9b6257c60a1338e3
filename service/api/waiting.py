"""Requests that wait for a transcription to end. The commit that ends it wakes them, else a slow poll.

One watcher in each process queries up to IDS_PER_QUERY transcriptions at a time, so that a thousand waiting
requests cost no more than one. `db.notify` delivers notifications from other processes. A lost one delays the
response by up to POLL_EVERY_S.
"""

import asyncio
from collections import defaultdict
from contextlib import suppress
from functools import partial

import structlog

from service.errors import UnavailableError
from service.relay import Relay
from service.store import transcription_queries

log = structlog.get_logger(__name__)

QUEUE = "ended"  # notified when a transcription ends or is deleted
POLL_EVERY_S = 1.0
POLLS_APART_S = 0.02
IDS_PER_QUERY = 1_000


class CompletionWaiter:
    """The waiting requests of this process."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._waiting: defaultdict[str, set[asyncio.Future[None]]] = defaultdict(set)
        self._watcher: asyncio.Task[None] | None = None

    async def wait_for(self, transcription_id: str, longest_s: float) -> None:
        """Return when the transcription has ended or is deleted, or after `longest_s` seconds."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[transcription_id].add(ended)
        self._watch()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(longest_s):
                    await ended
        finally:
            self._forget(transcription_id, ended)

    async def stop(self) -> None:
        """Stop the watcher."""
        if self._watcher:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)

    def _watch(self) -> None:
        """Make the watcher poll now, because the transcription may have ended since the request read it."""
        self._relay.notifier.notify_local(QUEUE)
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.create_task(self._look_while_asked())

    def _forget(self, transcription_id: str, ended: asyncio.Future[None]) -> None:
        self._waiting[transcription_id].discard(ended)
        if not self._waiting[transcription_id]:
            del self._waiting[transcription_id]

    async def _look_while_asked(self) -> None:
        while self._waiting:
            await self._relay.notifier.wait(QUEUE, POLL_EVERY_S)
            try:
                await self._look()
            except UnavailableError as error:
                log.warning("waiting_for_database", reason=str(error))
            await asyncio.sleep(POLLS_APART_S)

    async def _look(self) -> None:
        asked = list(self._waiting)
        for start in range(0, len(asked), IDS_PER_QUERY):
            some = asked[start : start + IDS_PER_QUERY]
            still_open = await self._relay.db.read(partial(transcription_queries.still_open, ids=some))
            for transcription_id in set(some) - still_open:
                self._release(transcription_id)

    def _release(self, transcription_id: str) -> None:
        for ended in self._waiting.get(transcription_id, ()):
            if not ended.done():
                ended.set_result(None)
