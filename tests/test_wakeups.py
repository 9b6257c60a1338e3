"""Rings that may wait come together, after those that may not."""

import asyncio

import pytest

from service import wakeups
from service.wakeups import Wakeups


async def test_many_rings_that_may_wait_wake_a_lane_once_and_a_later_one_wakes_it_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wakeups, "LATER_S", 0.1)
    bells = Wakeups()
    bells.ring_later("cleanup")
    assert not await bells.wait("cleanup", 0.025)
    bells.ring_later("cleanup")  # the first is still to come
    assert await bells.wait("cleanup", 5)
    assert not await bells.wait("cleanup", 0.3)
    bells.ring_later("cleanup")
    assert await asyncio.wait_for(bells.take_rung(), 5) == {"cleanup"}
    assert await bells.wait("cleanup", 5)
