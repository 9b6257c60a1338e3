"""Permits taken ahead: fewer trips to the shared window, and never more requests than it holds."""

import asyncio
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from service.ahead import MOST, PART, REPEATS, Ahead, Grant
from service.db import Database
from service.governor import Governor
from service.store import budget
from service.store.room import Quotas

SONIOX_DEFAULT = 400  # requests per minute
HIGH = MOST * PART


def use_and_ask(ahead: Ahead, times: int, second: int, share: str = "live") -> list[int]:
    """How many permits each of so many requests asks for, 0 for those that need not ask; all are given."""
    asked = []
    for _ in range(times):
        if ahead.use(share, second):
            asked.append(0)
            continue
        ask = ahead.ask(share, 0)
        ahead.answered(ask, Grant(ask.number, second))
        asked.append(ask.number)
    return asked


def test_at_sonioxs_default_quota_nothing_is_taken_ahead() -> None:
    assert use_and_ask(Ahead(SONIOX_DEFAULT), 50, second=1) == [1] * 50


def test_who_asks_seldom_takes_one_at_a_time() -> None:
    ahead = Ahead(HIGH)
    assert [use_and_ask(ahead, 1, second)[0] for second in range(20)] == [1] * 20


def test_who_asks_often_takes_more_and_more_but_never_over_the_most() -> None:
    asked = use_and_ask(Ahead(HIGH), 2_000, second=1)
    assert asked[0] == 1
    assert max(asked) == 1 + MOST
    assert sum(number > 0 for number in asked) < 100
    assert sum(asked) <= 2_000 + MOST  # no more is left over than one block


def test_the_permit_of_a_call_that_is_sure_to_follow_comes_by_the_same_trip_at_any_quota() -> None:
    ahead = Ahead(SONIOX_DEFAULT)
    assert not ahead.use("live", 1)
    ask = ahead.ask("live", 1)
    assert ask.number == 2
    ahead.answered(ask, Grant(2, 1))
    assert ahead.use("live", 1)
    assert not ahead.use("live", 1)


def test_what_was_taken_ahead_is_good_for_its_second_only() -> None:
    ahead = Ahead(HIGH)
    assert use_and_ask(ahead, 2 * REPEATS, second=1)[-1] != 1
    assert not ahead.use("live", 2)


def test_an_answer_that_comes_in_the_next_second_leaves_nothing_over() -> None:
    ahead = Ahead(HIGH)
    use_and_ask(ahead, 100, second=1)
    while ahead.use("live", 1):
        pass
    ask = ahead.ask("live", 0)
    assert ask.number > 1
    ahead.use("live", 2)
    ahead.answered(ask, Grant(ask.number, 1))
    assert not ahead.use("live", 2)


def test_while_one_is_asking_for_more_the_others_ask_for_one() -> None:
    ahead = Ahead(HIGH)
    use_and_ask(ahead, 100, second=1)
    while ahead.use("live", 1):
        pass
    first, second = ahead.ask("live", 0), ahead.ask("live", 0)
    assert (first.number > 1, second.number) == (True, 1)
    ahead.answered(second, None)
    ahead.answered(first, None)
    assert ahead.ask("live", 0).number > 1  # nobody is taken to be asking for ever


@given(
    st.integers(1, 200_000),
    st.lists(st.tuples(st.sampled_from(["live", "clean"]), st.integers(0, 1), st.integers(0, 70)), max_size=300),
)
def test_no_order_of_requests_uses_more_than_was_given(
    per_minute: int, requests: list[tuple[str, int, int]]
) -> None:
    ahead, given_, used, second = Ahead(per_minute), Counter[tuple[str, int]](), Counter[tuple[str, int]](), 0
    for share, later, most in requests:
        second += later
        if not ahead.use(share, second):
            ask = ahead.ask(share, 0)
            grant = Grant(min(ask.number, most), second)
            ahead.answered(ask, grant)
            given_[share, second] += grant.number
            if not grant.number:
                continue
        used[share, second] += 1
    assert all(number <= given_[key] for key, number in used.items())


async def test_many_requests_take_few_trips_and_the_window_holds_all_of_them(db: Database) -> None:
    governor = Governor(db, lambda: 1_732_060_800_000, HIGH, Quotas(1000, 1000, 1000))
    trips = 0
    for _ in range(300):
        before = await spent(db)
        await governor.permit("live")
        trips += await spent(db) != before
    assert 300 <= await spent(db) <= 300 + MOST
    assert trips < 60


async def test_once_half_of_the_window_is_spent_nothing_is_taken_ahead(db: Database) -> None:
    await db.write(lambda connection: budget.spend(connection, "clean", HIGH // 2 + 1, 1_732_060_800))
    governor = Governor(db, lambda: 1_732_060_800_000, HIGH, Quotas(1000, 1000, 1000))
    before = await spent(db)
    for _ in range(50):
        await governor.permit("live")
    assert await spent(db) == before + 50


async def test_an_asker_that_is_cancelled_keeps_nobody_from_taking_ahead(db: Database) -> None:
    governor = Governor(db, lambda: 1_732_060_800_000, HIGH, Quotas(1000, 1000, 1000))
    asking = asyncio.create_task(governor.permit("live"))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    for _ in range(100):
        await governor.permit("live")
    assert await spent(db) > 101


async def spent(db: Database) -> int:
    """What the window holds."""
    async with db.read() as connection:
        return sum((await budget.used(connection, 1_732_060_800)).values())
