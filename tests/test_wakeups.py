"""Wake-ups: no ring is lost on a queue that is busy, and many rings are one."""

import asyncio

from service.db.notify import Notifier


async def test_a_lane_that_sleeps_is_woken_by_its_own_bell_alone() -> None:
    bells = Notifier()
    sleeping = asyncio.create_task(bells.wait("cleanup", 30))
    await asyncio.sleep(0)
    bells.notify("collect")
    assert not await bells.wait("notify", 0.01)
    assert not sleeping.done()
    bells.notify("cleanup")
    assert await asyncio.wait_for(sleeping, 5)


async def test_many_rings_on_a_busy_lane_have_it_go_straight_on_once() -> None:
    bells = Notifier()
    for _ in range(3):
        bells.notify("cleanup")
    assert await bells.wait("cleanup", 5)
    assert not await bells.wait("cleanup", 0.01)


async def test_what_was_rung_is_told_to_other_processes_once_and_what_came_from_them_is_not() -> None:
    bells = Notifier()
    for queue in ("cleanup", "collect", "cleanup"):
        bells.notify(queue)
    bells.notify_local("notify")
    assert await asyncio.wait_for(bells.drain(), 5) == {"cleanup", "collect"}
    telling = asyncio.create_task(bells.drain())
    await asyncio.sleep(0)
    assert not telling.done()
    bells.notify("submit")
    assert await asyncio.wait_for(telling, 5) == {"submit"}
