"""The governor: no quota of Soniox is exceeded, and trouble there holds the work back until a probe is through."""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func
from sqlalchemy.util import await_only
from sqlmodel import Session, select

from service import governor as governor_module
from service.db.database import Database, open_database
from service.db.notify import Notifier
from service.errors import (
    SonioxAuthError,
    SonioxError,
    SonioxOutcomeUnknownError,
    SonioxQuotaExceededError,
    SonioxRateLimitedError,
    SonioxRejectedError,
    SonioxUnreachableError,
)
from service.governor import BUSY_S, OUTAGE_AFTER, RESERVED, Governor, is_allowed
from service.lifecycle import Stage
from service.store import quotas as store_quotas
from service.store.claims import Claimant
from service.store.quotas import Quotas, QuotaUsage
from service.store.statements import insert_all
from service.tables import RateWindow, Transcription
from tests.support.waiting import until

NOW_MS = 1_732_060_800_000
PLENTY = Quotas(1000, 1000, 1000)
SHARES = list(RESERVED)
OFTEN = 3
looks: Counter[asyncio.Task[Any] | None] = Counter()  # in vain, of each who asks


class Time:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS

    def __call__(self) -> int:
        return self.now_ms


async def rest(seconds: float) -> None:
    """The pause between two looks of who got no permit. After some looks it lasts until the task is given up.

    To find another process counting is no look.
    """
    if seconds == BUSY_S:
        await asyncio.sleep(0)
        return
    task = asyncio.current_task()
    looks[task] += 1
    if looks[task] < OFTEN:
        await asyncio.sleep(0)
    else:
        await asyncio.Event().wait()


@pytest.fixture(autouse=True)
def looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looks.clear()
    monkeypatch.setattr(governor_module, "asyncio", SimpleNamespace(sleep=rest))


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def governor(db: Database, time: Time) -> Governor:
    return Governor(db, time, 100_000, PLENTY)


@pytest.fixture
async def databases(database_url: str) -> AsyncIterator[list[Database]]:
    """The databases of two processes, or of the only one that SQLite allows."""
    number = 1 if database_url.startswith("sqlite") else 2
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(open_database(database_url, Notifier())) for _ in range(number)]


async def granted(governors: Sequence[Governor], shares: Sequence[str]) -> Counter[str]:
    """How many of each share get their permit, when all ask at once; the others have looked often by then."""
    asking = {
        asyncio.create_task(governors[number % len(governors)].acquire(share)): share
        for number, share in enumerate(shares)
    }
    await until(lambda: all(task.done() or looks[task] == OFTEN for task in asking))
    waiting = [task for task in asking if not task.done()]
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    return Counter(share for task, share in asking.items() if task not in waiting)


async def test_all_processes_together_stay_within_the_rate(databases: list[Database], time: Time) -> None:
    governors = [Governor(database, time, 40, PLENTY) for database in databases]
    first = await granted(governors, ["live"] * 60)
    assert first == {"live": 40 - 8 - 4}  # the floors of the other two are left alone
    rest = await granted(governors, [*["live"] * 5, *["sweep"] * 30, *["clean"] * 30])
    assert rest == {"clean": 8, "sweep": 4}


async def test_after_a_minute_there_are_permits_again(databases: list[Database], time: Time) -> None:
    governors = [Governor(database, time, 20, PLENTY) for database in databases]
    assert (await granted(governors, ["live"] * 30))["live"] == 14
    time.now_ms += 59_000
    assert not await granted(governors, ["live"] * 5)
    time.now_ms += 2_000
    assert (await granted(governors, ["live"] * 30))["live"] == 14


async def test_what_processes_spend_at_once_while_there_is_plenty_is_counted_all(
    databases: list[Database], time: Time
) -> None:
    governors = [Governor(database, time, 100_000, PLENTY) for database in databases]
    assert await granted(governors, ["live", "live", "clean", "clean"] * 75) == {
        "live": 150,
        "clean": 150,
    }
    assert await spent(databases[0], time) == 300


async def test_a_permit_that_took_long_counts_in_the_minute_in_which_it_is_used(db: Database, time: Time) -> None:
    governor = Governor(db, time, 100_000, PLENTY)
    begun, go_on, go_on_in_thread = asyncio.Event(), asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def block(_session: Session) -> None:
        loop.call_soon_threadsafe(begun.set)
        if db.is_sqlite:
            go_on_in_thread.wait(10)
        else:
            await_only(go_on.wait())

    blocking = asyncio.create_task(db.write(block))
    await asyncio.wait_for(begun.wait(), 30)
    asking = asyncio.create_task(governor.acquire("live"))
    await asyncio.sleep(0)  # it asks in the second that ends now
    time.now_ms += 70_000
    go_on.set()
    go_on_in_thread.set()
    await asyncio.gather(blocking, asking)
    assert await spent(db, time) == 1


async def test_requests_that_no_longer_count_are_forgotten(governor: Governor, db: Database, time: Time) -> None:
    for _ in range(300):
        await governor.acquire("live")
        time.now_ms += 1_000
    seconds = await db.read(lambda session: session.exec(select(func.count()).select_from(RateWindow)).one())
    assert 60 <= seconds <= 2 * 60 + 20


async def spent(database: Database, time: Time) -> int:
    """Requests of the last minute."""
    used = await database.read(lambda session: store_quotas.requests_in_window(session, time() // 1000))
    return sum(used.values())


@given(st.integers(10, 1000), st.lists(st.sampled_from(SHARES), max_size=1500))
def test_no_order_of_askers_exceeds_the_rate(limit: int, askers: list[str]) -> None:
    used: dict[str, int] = {}
    for share in askers:
        if is_allowed(share, used, limit):
            used[share] = used.get(share, 0) + 1
    assert sum(used.values()) <= limit


@given(st.integers(10, 1000), st.sampled_from(SHARES), st.sampled_from(SHARES))
def test_nobody_can_take_the_floor_of_another(limit: int, greedy: str, other: str) -> None:
    used: dict[str, int] = {}
    while is_allowed(greedy, used, limit):
        used[greedy] = used.get(greedy, 0) + 1
    if other != greedy:
        for _ in range(int(limit * RESERVED[other])):
            assert is_allowed(other, used, limit)
            used[other] = used.get(other, 0) + 1


@pytest.mark.parametrize("status", [401, 402, 403])
async def test_a_refused_key_parks_all_work_and_says_why_until_a_probe_comes_through(
    governor: Governor, time: Time, status: int
) -> None:
    governor.record_result(SonioxAuthError("pay first", status_code=status, error_type="payment_required"))
    assert not governor.may_submit()
    assert governor.blocked_reason() == f"{status} payment_required: pay first"
    assert not await granted([governor], ["live"] * 5)

    time.now_ms += governor.key_probe_every_ms
    assert await granted([governor], ["live"] * 5) == {"live": 1}  # the probe
    governor.record_result(SonioxAuthError("pay first", status_code=status, error_type="payment_required"))
    assert not await granted([governor], ["live"] * 5)

    time.now_ms += governor.key_probe_every_ms
    assert await granted([governor], ["live"] * 5) == {"live": 1}
    governor.record_result(None)
    assert governor.blocked_reason() is None
    assert governor.may_submit()
    assert await granted([governor], ["live"] * 5) == {"live": 5}


async def test_a_probe_that_never_reports_is_replaced(governor: Governor, time: Time) -> None:
    governor.record_result(SonioxAuthError("no", status_code=401))
    time.now_ms += governor.key_probe_every_ms
    assert await granted([governor], ["live"] * 5) == {"live": 1}
    time.now_ms += 60_000
    assert await granted([governor], ["live"] * 5) == {"live": 1}


@pytest.mark.parametrize(("told_s", "wait_ms"), [(30.0, 30_000), (0.5, 500), (None, 60_000)])
async def test_a_rate_limit_is_waited_out_even_if_an_older_request_succeeds(
    governor: Governor, time: Time, told_s: float | None, wait_ms: int
) -> None:
    governor.record_result(SonioxRateLimitedError("slow down", status_code=429, retry_after_s=told_s))
    governor.record_result(None)
    time.now_ms += wait_ms - 1
    assert not governor.may_submit()
    assert not await granted([governor], ["live"])
    time.now_ms += 1
    assert await granted([governor], ["live"]) == {"live": 1}
    governor.record_result(None)
    assert governor.may_submit()


async def test_new_work_is_claimed_as_soon_as_a_pause_is_over_even_if_nobody_waits_at_the_gate(
    governor: Governor, time: Time
) -> None:
    governor.record_result(SonioxRateLimitedError("slow down", status_code=429, retry_after_s=2.0))
    time.now_ms += 1_999
    assert not governor.may_submit()
    time.now_ms += 1
    assert governor.may_submit()
    await governor.acquire("live")
    assert not governor.may_submit()  # its request is the probe


async def test_a_probe_that_meets_a_passing_failure_is_followed_by_another_soon(
    governor: Governor, time: Time
) -> None:
    governor.record_result(SonioxRateLimitedError("slow down", status_code=429, retry_after_s=2.0))
    time.now_ms += 2_000
    await governor.acquire("live")
    governor.record_result(SonioxOutcomeUnknownError("cut"))
    assert governor.blocked_reason() is not None
    time.now_ms += 1_000
    assert governor.may_submit()
    assert await granted([governor], ["live"] * 3) == {"live": 1}


@pytest.mark.parametrize("kind", [SonioxOutcomeUnknownError, SonioxUnreachableError])
async def test_only_many_failures_in_a_row_are_an_outage(
    governor: Governor, time: Time, kind: type[SonioxError]
) -> None:
    for _ in range(3):
        for _ in range(OUTAGE_AFTER - 1):
            governor.record_result(kind("away"))
        assert governor.blocked_reason() is None
        governor.record_result(None)
    for _ in range(OUTAGE_AFTER):
        governor.record_result(kind("away"))
    assert governor.blocked_reason() == "Soniox is out of order: away"
    assert not await granted([governor], ["live"] * 3)
    time.now_ms += 60_000
    assert await granted([governor], ["live"] * 3) == {"live": 1}
    governor.record_result(None)
    assert governor.blocked_reason() is None


def test_an_answer_that_soniox_gave_on_purpose_is_no_outage(governor: Governor) -> None:
    for _ in range(3 * OUTAGE_AFTER):
        governor.record_result(SonioxUnreachableError("away"))
        governor.record_result(SonioxRejectedError("no", status_code=400))
    assert governor.blocked_reason() is None


async def test_a_full_quota_holds_submissions_but_lets_cleaning_go_on(governor: Governor, time: Time) -> None:
    governor.record_result(SonioxQuotaExceededError("Total transcriptions limit reached", status_code=429))
    assert not governor.may_submit()
    assert governor.quota_refusals == 1
    assert governor.blocked_reason() == "Total transcriptions limit reached"
    assert await granted([governor], ["clean"] * 3) == {"clean": 3}
    time.now_ms += governor.quota_pause_ms
    assert governor.may_submit()
    assert governor.blocked_reason() is None


def test_what_others_hold_at_soniox_is_left_out_of_our_share(governor: Governor) -> None:
    governor.foreign_usage = QuotaUsage(0, 300, 20)
    assert governor.quotas == Quotas(1000, 700, 980)


@pytest.mark.parametrize(
    ("quotas", "expected"),
    [(Quotas(7, 99, 99), 7), (Quotas(99, 5, 99), 5), (Quotas(99, 99, 3), 3), (Quotas(0, 9, 9), 0)],
)
async def test_no_more_jobs_are_begun_at_once_than_there_is_room_for(
    databases: list[Database], quotas: Quotas, expected: int
) -> None:
    await databases[0].write(lambda session: insert_all(session, [waiting(number) for number in range(40)]))

    async def claim(database: Database, number: int) -> list[Transcription]:
        claimant = Claimant(f"w{number}", NOW_MS, 20_000)
        return await database.write(lambda session: store_quotas.claim_submissions(session, quotas, claimant, 4))

    workers = [claim(databases[number % len(databases)], number) for number in range(12)]
    begun = [job for jobs in await asyncio.gather(*workers) for job in jobs]
    assert len(begun) == len({job.id for job in begun}) == expected
    assert {job.stage for job in begun} <= {Stage.SUBMITTING}


def waiting(number: int) -> Transcription:
    """An accepted job with a file of its own."""
    return Transcription(
        id=f"job-{number:02}",
        owner="o",
        created_at_ms=NOW_MS,
        due_at_ms=NOW_MS,
        filename="a.wav",
        file_id=f"file-{number:02}",
        model="m",
    )
