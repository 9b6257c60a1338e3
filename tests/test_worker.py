"""The worker: one bad row stops nobody, a stop gives everything back, and nobody waits longer than needed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy.util import await_only
from sqlmodel import Session

from service import worker as worker_module
from service.errors import DatabaseDownError
from service.relay import Relay, open_relay
from service.store import claims, system
from service.store.claims import Claimant
from service.store.statements import insert_all
from service.tables import Removal
from service.worker import LEASE_MS, Queue, Worker
from tests.support.relay_app import settings_for
from tests.support.rows import all_of
from tests.support.simulation.deliveries import Moment
from tests.support.waiting import until

Step = Callable[[Relay, Any], Awaitable[None]]


@pytest.fixture
async def relay(database_url: str) -> AsyncIterator[Relay]:
    """The parts, with nobody at work."""
    async with open_relay(settings_for(database_url, "http://127.0.0.1:1", 8000)) as opened:
        yield opened


def claim(session: Session, claimant: Claimant, limit: int) -> Sequence[Removal]:
    return claims.claim(session, Removal, claimant, limit=limit)


class Counting:
    """The same, and how often it was asked for."""

    asked = 0

    def has_asked(self) -> bool:
        """At once, since nothing is due: the queue sleeps from here on."""
        return self.asked > 0

    def __call__(self, session: Session, claimant: Claimant, limit: int) -> Sequence[Removal]:
        self.asked += 1
        return claim(session, claimant, limit)


def a_worker(relay: Relay, step: Step, *, concurrency: int = 4, claim: Any = claim) -> Worker:
    """With one queue."""
    return Worker(relay, [Queue("test", Removal, claim, step, concurrency, lambda row: row.transcription_id)])


@asynccontextmanager
async def at_work(relay: Relay, step: Step, *, concurrency: int = 4, claim: Any = claim) -> AsyncIterator[None]:
    """A worker with one queue until the block ends."""
    stop = asyncio.Event()
    running = asyncio.create_task(a_worker(relay, step, concurrency=concurrency, claim=claim).run(stop))
    try:
        yield
    finally:
        stop.set()
        await running


async def lay_out(relay: Relay, *names: str, in_ms: int = 0) -> None:
    """Rows that are due in so many ms."""
    at_ms = relay.clock() + in_ms
    rows = [Removal(id=name, transcription_id="t", created_at_ms=at_ms, due_at_ms=at_ms) for name in names]
    await relay.db.write(lambda session: insert_all(session, rows), wake=("test",))


async def rows_of(relay: Relay) -> dict[str, Removal]:
    return {row.id: row for row in await all_of(relay.db, Removal)}


async def finish(relay: Relay, row: Removal) -> None:
    await relay.db.write(lambda session: claims.finish(session, Removal, row))


async def is_done(relay: Relay, *names: str) -> bool:
    found = await rows_of(relay)
    return all(found[name].due_at_ms is None for name in names)


async def test_a_step_that_breaks_has_its_row_put_aside_and_the_others_go_on(relay: Relay) -> None:
    async def step(relay: Relay, row: Removal) -> None:
        if row.id == "bad":
            raise ZeroDivisionError("with a canary in its message")
        await finish(relay, row)

    await lay_out(relay, "bad", "good-1", "good-2")
    before_ms = relay.clock()
    async with at_work(relay, step, concurrency=1):
        await until(lambda: is_done(relay, "good-1", "good-2"))
        await until(lambda: is_put_aside(relay, "bad"))
    bad = (await rows_of(relay))["bad"]
    assert (bad.tries, bad.lease_until_ms) == (1, None)
    assert bad.due_at_ms
    assert bad.due_at_ms >= before_ms + 5_000
    assert bad.last_error == "unforeseen error: ZeroDivisionError"


async def is_put_aside(relay: Relay, name: str) -> bool:
    return (await rows_of(relay))[name].tries == 1


async def test_a_claim_that_breaks_does_not_end_its_lane(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "POLL_EVERY_S", 0.02)
    faults: list[Exception] = [ZeroDivisionError(), DatabaseDownError("away"), KeyError("x")]

    def moody(session: Session, claimant: Claimant, limit: int) -> Sequence[Removal]:
        if faults:
            raise faults.pop()
        return claim(session, claimant, limit)

    await lay_out(relay, "a")
    async with at_work(relay, finish, claim=moody):
        await until(lambda: is_done(relay, "a"))
    assert not faults


async def test_a_stop_waits_for_steps_that_end_soon(relay: Relay) -> None:
    """The loops of the worker end first: the queue's claims, and its signs of life."""
    begun, asked_to_stop = asyncio.Event(), asyncio.Event()

    async def step(relay: Relay, row: Removal) -> None:
        begun.set()
        await asked_to_stop.wait()
        await finish(relay, row)

    await lay_out(relay, "a")
    stop = asyncio.Event()
    running = asyncio.create_task(a_worker(relay, step).run(stop))
    await begun.wait()
    queue = next(task for task in asyncio.all_tasks() if task.get_name() == "test")
    stop.set()
    await until(queue.done)
    asked_to_stop.set()
    await running
    assert await is_done(relay, "a")


async def test_a_stop_gives_back_what_does_not_end_and_claims_nothing_more(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "STOP_WITHIN_S", 0.2)
    begun: list[str] = []
    both = asyncio.Event()

    async def step(relay: Relay, row: Removal) -> None:
        begun.append(row.id)
        if len(begun) == 2:
            both.set()
        await asyncio.Event().wait()  # for ever

    await lay_out(relay, "a", "b", "c")
    async with at_work(relay, step, concurrency=2):
        await both.wait()
    assert begun == ["a", "b"]
    now_ms = relay.clock()
    claimant = Claimant("next", now_ms, LEASE_MS)
    taken = await relay.db.write(lambda session: claim(session, claimant, 10))
    assert [row.id for row in taken] == ["a", "b", "c"]  # at once, long before the leases would have ended


async def test_a_row_that_becomes_due_later_is_taken_when_its_time_has_come(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "POLL_EVERY_S", 60)
    monkeypatch.setattr(worker_module, "IDLE_POLL_S", 60)
    started: list[int] = []

    async def step(relay: Relay, row: Removal) -> None:
        started.append(relay.clock())
        await finish(relay, row)

    counting = Counting()
    async with at_work(relay, step, claim=counting):
        await until(counting.has_asked)
        due_ms = relay.clock() + 300
        await lay_out(relay, "later", in_ms=300)
        await until(lambda: is_done(relay, "later"))
    assert started[0] >= due_ms


async def test_a_ring_wakes_the_lane_at_once(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "POLL_EVERY_S", 60)
    counting = Counting()
    async with at_work(relay, finish, claim=counting):
        await until(counting.has_asked)
        await lay_out(relay, "a")
        await until(lambda: is_done(relay, "a"), within_s=5)


async def test_rings_that_come_together_are_served_by_few_claims(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "BATCHING_S", 0.1)
    counting = Counting()
    names = [f"r{number:02}" for number in range(40)]
    async with at_work(relay, finish, concurrency=100, claim=counting):
        started_s = asyncio.get_running_loop().time()
        for name in names:
            await lay_out(relay, name)
        await until(lambda: is_done(relay, *names))
        took_s = asyncio.get_running_loop().time() - started_s
    assert counting.asked <= took_s / 0.1 + 3


class Rests:
    """How long a queue was ready to sleep each time."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def of(self, wait: Callable[[str, float], Awaitable[bool]]) -> Callable[[str, float], Awaitable[bool]]:
        """The same, and noted."""

        async def noted(queue: str, longest_s: float) -> bool:
            self.seconds.append(longest_s)
            return await wait(queue, longest_s)

        return noted


async def test_a_lane_with_nothing_due_asks_seldom_and_still_finds_a_row_whose_ring_was_lost(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "POLL_EVERY_S", 0.02)
    monkeypatch.setattr(worker_module, "IDLE_POLL_S", 0.5)
    monkeypatch.setattr(worker_module, "BATCHING_S", 0.0)
    counting, rests = Counting(), Rests()
    monkeypatch.setattr(relay.notifier, "wait", rests.of(relay.notifier.wait))
    async with at_work(relay, finish, claim=counting):
        await until(lambda: rests.seconds[-2:] == [0.5, 0.5])  # it has rested once, found nothing and rests again
        assert counting.asked < 10
        unsaid = Removal(id="unsaid", transcription_id="t", created_at_ms=0, due_at_ms=relay.clock())
        await relay.db.write(lambda session: insert_all(session, [unsaid]))
        await until(lambda: is_done(relay, "unsaid"))


async def test_no_more_steps_run_at_once_than_the_lane_may_and_all_are_done(relay: Relay) -> None:
    running: set[str] = set()
    most = 0

    async def step(relay: Relay, row: Removal) -> None:
        nonlocal most
        running.add(row.id)
        most = max(most, len(running))
        await rows_of(relay)  # which takes a moment
        running.discard(row.id)
        await finish(relay, row)

    names = [f"r{number:02}" for number in range(40)]
    await lay_out(relay, *names)
    async with at_work(relay, step, concurrency=3):
        await until(lambda: is_done(relay, *names))
    assert most == 3


async def test_a_long_step_keeps_its_row_for_as_long_as_it_works(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue has another hand free and asks again and again meanwhile."""
    monkeypatch.setattr(worker_module, "POLL_EVERY_S", 0.02)
    monkeypatch.setattr(worker_module, "RENEW_EVERY_S", 0.02)
    clock = Moment(relay.clock())
    relay = replace(relay, clock=clock)
    started: list[str] = []
    go_on = asyncio.Event()

    async def step(relay: Relay, row: Removal) -> None:
        started.append(row.id)
        await go_on.wait()
        await finish(relay, row)

    async def is_held_anew() -> bool:
        return (await rows_of(relay))["long"].lease_until_ms == clock() + LEASE_MS

    counting = Counting()
    await lay_out(relay, "long")
    async with at_work(relay, step, concurrency=2, claim=counting):
        for _ in range(5):
            await until(is_held_anew)
            clock.forward(LEASE_MS * 0.9 / 1000)
            asked = counting.asked
            await until(lambda asked=asked: counting.asked >= asked + 2)  # type: ignore[misc]  # bound in time
        go_on.set()
        await until(lambda: is_done(relay, "long"))
    assert started == ["long"]


async def test_on_sqlite_the_leases_of_a_killed_process_are_free_at_once_and_on_postgresql_they_end(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "POLL_EVERY_S", 0.02)
    monkeypatch.setattr(worker_module, "IDLE_POLL_S", 0.02)
    clock = Moment(relay.clock())
    relay = replace(relay, clock=clock)
    await lay_out(relay, "a")
    dead = Claimant("killed", clock(), LEASE_MS)
    await relay.db.write(lambda session: claim(session, dead, 1))
    counting = Counting()
    async with at_work(relay, finish, claim=counting):
        if not relay.db.is_sqlite:
            clock.forward((LEASE_MS - 1) / 1000)
            asked = counting.asked
            await until(lambda: counting.asked >= asked + 3)
            assert not await is_done(relay, "a")
            clock.forward(0.001)
        await until(lambda: is_done(relay, "a"))


async def test_a_worker_gives_signs_of_life(relay: Relay) -> None:
    async def has_beaten() -> bool:
        return f"worker:{relay.process_id}" in await relay.db.read(system.heartbeats_of)

    async with at_work(relay, finish):
        await until(has_beaten)


async def test_what_a_claim_took_while_the_worker_stopped_is_given_back(relay: Relay) -> None:
    begun, go_on, stop, loop = asyncio.Event(), asyncio.Event(), asyncio.Event(), asyncio.get_running_loop()

    def slow(session: Session, claimant: Claimant, limit: int) -> Sequence[Removal]:
        loop.call_soon_threadsafe(begun.set)
        if not relay.db.is_sqlite:  # where a write may wait for nothing but the database
            await_only(go_on.wait())
        return claim(session, claimant, limit)

    await lay_out(relay, "a")
    queue = Queue("test", Removal, slow, finish, 4, lambda row: row.transcription_id)
    running = asyncio.create_task(Worker(relay, [queue]).run(stop))
    await asyncio.wait_for(begun.wait(), 30)
    lane_loop = next(task for task in asyncio.all_tasks() if task.get_name() == "test")
    stop.set()
    await until(lane_loop.done)
    go_on.set()
    await running
    assert ((await rows_of(relay))["a"].lease_until_ms or 0) <= relay.clock()
