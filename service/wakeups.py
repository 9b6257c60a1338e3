"""Wake-ups: who writes a due row rings, whoever works on such rows wakes at once instead of polling.

A lost ring costs only time, since every lane also polls slowly; so rings are sent after the commit and need
not be part of it. On PostgreSQL `db` passes them on to the other processes.
"""

import asyncio
from collections import defaultdict


class Wakeups:
    """One bell for each lane of work, in this process."""

    def __init__(self) -> None:
        self._bells: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def ring(self, lane: str) -> None:
        """Wake the lane, or have it go straight on if it is not asleep."""
        self._bells[lane].set()

    async def wait(self, lane: str, longest_s: float) -> None:
        """Sleep until somebody rings or `longest_s` seconds have passed."""
        bell = self._bells[lane]
        try:
            async with asyncio.timeout(longest_s):
                await bell.wait()
        except TimeoutError:
            pass
        bell.clear()
