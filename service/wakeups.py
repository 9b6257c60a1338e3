"""Wake-ups: who writes a due row rings, whoever works on such rows wakes at once instead of polling.

A lost ring costs only time, since every lane also polls slowly; so rings are sent after the commit and need not
be part of it. On PostgreSQL `broadcast` passes them on to the other processes.
"""

import asyncio
import contextlib
from collections import defaultdict


class Wakeups:
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
