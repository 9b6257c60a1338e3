"""How quickly something can be done, and how that compares."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence


async def calls_per_s(number: int, at_once: int, call: Callable[[], Awaitable[object]]) -> float:
    """How many in a second, `number` of them with so many under way at a time."""
    left = iter(range(number))

    async def hand() -> None:
        for _ in left:
            await call()

    started = time.perf_counter()
    await asyncio.gather(*(hand() for _ in range(at_once)))
    return number / (time.perf_counter() - started)


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios of what was measured one right after the other.

    A machine that is fast and slow by turns of some seconds is so for both of a pair.
    """
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))
