"""Wake-ups: no ring is lost on a queue that is busy, and many rings are one."""

import asyncio

from service.db.notify import Notifier


async def test_a_lane_that_sleeps_is_woken_by_its_own_bell_alone() -> None:
    notifier = Notifier()
    sleeping = asyncio.create_task(notifier.wait("cleanup", 30))
    await asyncio.sleep(0)
    notifier.notify("collect")
    assert not await notifier.wait("deliver", 0.01)
    assert not sleeping.done()
    notifier.notify("cleanup")
    assert await asyncio.wait_for(sleeping, 5)


async def test_many_rings_on_a_busy_lane_have_it_go_straight_on_once() -> None:
    notifier = Notifier()
    for _ in range(3):
        notifier.notify("cleanup")
    assert await notifier.wait("cleanup", 5)
    assert not await notifier.wait("cleanup", 0.01)


async def test_what_was_rung_is_told_to_other_processes_once_and_what_came_from_them_is_not() -> None:
    notifier = Notifier()
    for queue in ("cleanup", "collect", "cleanup"):
        notifier.notify(queue)
    notifier.notify_local("deliver")
    assert await asyncio.wait_for(notifier.drain(), 5) == {"cleanup", "collect"}
    telling = asyncio.create_task(notifier.drain())
    await asyncio.sleep(0)
    assert not telling.done()
    notifier.notify("submit")
    assert await asyncio.wait_for(telling, 5) == {"submit"}
