"""Soniox's own list of what it has, read once for all who look for something at the same time.

After a storm hundreds of creates may be unsettled. Each of them needs a listing that was begun after its own
unclear moment, but not one of its own.
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
    """The newest result of `read`, with the moment it was begun."""

    read: Callable[[], Awaitable[T]]
    clock: Clock
    _begun_ms: int = -1
    _result: T | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def not_older_than(self, since_ms: int) -> T:
        """A result that was begun at `since_ms` or later; waits for one that is under way."""
        async with self._lock:
            if self._result is None or self._begun_ms < since_ms:
                begun_ms = self.clock()
                self._result = await self.read()
                self._begun_ms = begun_ms
            return self._result


class Listing:
    """What Soniox holds, by our marks. Its methods raise SonioxError."""

    def __init__(self, soniox: Soniox, clock: Clock) -> None:
        self._soniox = soniox
        self._transcriptions = SingleFlight(self._read_transcriptions, clock)
        self._files = SingleFlight(self._read_files, clock)

    async def transcriptions(self, *, since_ms: int) -> dict[str, list[RemoteTranscription]]:
        """All that name one of our jobs, by job."""
        return await self._transcriptions.not_older_than(since_ms)

    async def files(self, *, since_ms: int) -> dict[str, str]:
        """Ids of the files that have a reference, by reference."""
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
