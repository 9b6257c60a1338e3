"""Soniox's listings, read once for concurrent lookups.

After an outage hundreds of creates may be unsettled. Each needs a listing that began after its own request, and
they can share one.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from service.clock import Clock
from service.soniox.client import Soniox
from service.soniox.models import RemoteTranscription

T = TypeVar("T")


@dataclass
class SingleFlight(Generic[T]):
    """Caches the newest result of `read`, and when that call began."""

    read: Callable[[], Awaitable[T]]
    clock: Clock
    _begun_ms: int = -1
    _result: T | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def not_older_than(self, since_ms: int) -> T:
        """Return a result whose read began at `since_ms` or later. Waits for a read under way."""
        async with self._lock:
            if self._result is None or self._begun_ms < since_ms:
                begun_ms = self.clock()
                self._result = await self.read()
                self._begun_ms = begun_ms
            return self._result


class Listing:
    """Objects at Soniox by our marks. Methods raise SonioxError."""

    def __init__(self, soniox: Soniox, clock: Clock) -> None:
        self._soniox = soniox
        self._transcriptions = SingleFlight(self._read_transcriptions, clock)
        self._files = SingleFlight(self._read_files, clock)

    async def transcriptions(self, *, since_ms: int) -> dict[str, list[RemoteTranscription]]:
        """Return the transcriptions whose webhook URL names a job, by job."""
        return await self._transcriptions.not_older_than(since_ms)

    async def files(self, *, since_ms: int) -> dict[str, str]:
        """Return the ids of files with a `client_reference_id`, by that reference."""
        return await self._files.not_older_than(since_ms)

    async def _read_transcriptions(self) -> dict[str, list[RemoteTranscription]]:
        found: dict[str, list[RemoteTranscription]] = {}
        async for remote in self._soniox.list_transcriptions():
            if job := remote.job():
                found.setdefault(job, []).append(remote)
        return found

    async def _read_files(self) -> dict[str, str]:
        listed = self._soniox.list_files()
        return {file.client_reference_id: file.id async for file in listed if file.client_reference_id}
