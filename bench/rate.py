"""How quickly something can be done."""

import asyncio
import time
from collections.abc import Awaitable, Callable


async def calls_per_s(number: int, at_once: int, call: Callable[[], Awaitable[object]]) -> float:
    """How many in a second, `number` of them with so many under way at a time."""
    left = iter(range(number))

    async def hand() -> None:
        for _ in left:
            await call()

    started = time.perf_counter()
    await asyncio.gather(*(hand() for _ in range(at_once)))
    return number / (time.perf_counter() - started)
