"""Waiting for what other tasks and processes do: the one place in the tests that sleeps."""

import asyncio
import time
from collections.abc import Awaitable, Callable

LOOK_EVERY_S = 0.01


async def until(
    condition: Callable[[], Awaitable[bool] | bool], within_s: float = 30, every_s: float = LOOK_EVERY_S
) -> None:
    """Return once the condition holds. Raises TimeoutError if it does not in `within_s` seconds."""
    async with asyncio.timeout(within_s):
        while True:
            holds = condition()
            if holds if isinstance(holds, bool) else await holds:
                return
            await asyncio.sleep(every_s)


def until_now(condition: Callable[[], bool], within_s: float = 30) -> None:
    """`until` for tests without an event loop."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {within_s} s")
        time.sleep(LOOK_EVERY_S)


async def stays(condition: Callable[[], Awaitable[bool] | bool], for_s: float) -> None:
    """Return if the condition holds at every look during `for_s` seconds: for what must not happen."""
    end = time.monotonic() + for_s
    while time.monotonic() < end:
        holds = condition()
        assert holds if isinstance(holds, bool) else await holds
        await asyncio.sleep(LOOK_EVERY_S)


async def loop_turns(number: int) -> None:
    """Let the event loop do what it has begun."""
    for _ in range(number):
        await asyncio.sleep(0)
