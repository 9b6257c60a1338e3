"""Counted hours: whatever changes after the count, the figures say what a plain count of the rows says."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlmodel import Session

from service.clock import DAY_MS, HOUR_MS
from service.db.database import Database
from service.db.engines import engine_url
from service.lifecycle import DeliveryStatus, Stage
from service.services.statistics import quantiles, roll_up_hours, window_of
from service.store import deliveries, endpoints, events, hourly, transcriptions
from service.store.hourly import DELIVERIES, JOBS, SAMPLE, Subject
from service.store.statements import insert_all
from service.store.statistics import Interval, Window
from service.store.transcriptions import JobResult
from service.tables import Delivery, Transcription
from tests.support.relay_app import RelayApp
from tests.support.sessions import in_session

NOW_MS = 1_790_000_000_000
SINCE_MS, UNTIL_MS = NOW_MS - 8 * DAY_MS, NOW_MS - HOUR_MS // 2
OWNERS = ("ann", "bob", "cid")
SUBJECTS = (JOBS, DELIVERIES)
PLAINLY = {
    "transcriptions": "SELECT stage, learned_from FROM transcriptions WHERE finished_at_ms >= {0}",
    "deliveries": "SELECT status FROM deliveries WHERE status <> 'pending' AND created_at_ms >= {0}",
}


async def count_all(db: Database) -> int:
    """What the background does, once; how many hours there were to count."""
    done = 0
    for subject in SUBJECTS:
        missing = await db.read(
            partial(hourly.uncounted_hours, subject=subject, since_ms=SINCE_MS, until_ms=UNTIL_MS)
        )
        for hour_ms in missing:
            done += await db.write(partial(hourly.count_hours_once, subject=subject, hour_ms=hour_ms))
    return done


async def figures_of(db: Database, subject: Subject, owner: str | None) -> list[Interval]:
    return await db.read(lambda session: hourly.finished_hours(session, subject, window_of("7d", NOW_MS), owner))


async def assert_exact(db: Database) -> None:
    """For everybody and each owner, in sum and hour by hour."""
    for subject in SUBJECTS:
        for owner in (None, *OWNERS):
            found = await figures_of(db, subject, owner)
            assert summed(found) == await plain_count(db, subject, owner)
            window = Window(found[0].since_ms, NOW_MS, HOUR_MS)
            rows = await db.read(by_hand(subject, window, owner))
            assert [(one.since_ms, one.counts) for one in found] == [(one.since_ms, one.counts) for one in rows]


def by_hand(subject: Subject, window: Window, owner: str | None) -> Callable[[Session], list[Interval]]:
    """Counted from the rows alone."""
    return lambda session: subject.from_rows(session, window, owner)


def summed(found: list[Interval]) -> Counter[tuple[str, ...]]:
    return +sum((Counter(one.counts) for one in found), Counter())


async def plain_count(db: Database, subject: Subject, owner: str | None) -> Counter[tuple[str, ...]]:
    query = PLAINLY[subject.subject].format(window_of("7d", NOW_MS).since_ms)
    if owner is not None:
        query += f" AND owner = '{owner}'"
    found = await db.read(lambda session: session.execute(text(query)).all())
    return Counter(tuple(row) for row in found)


def job(number: int, **values: Any) -> Transcription:
    given: dict[str, Any] = {"id": f"job-{number:05d}", "owner": OWNERS[number % 3], "filename": "a", "model": "m"}
    return Transcription(**given, created_at_ms=values.get("finished_at_ms", NOW_MS) - 1_000 - number, **values)


def delivery(number: int, at_ms: int, status: DeliveryStatus) -> Delivery:
    delivered_at_ms = at_ms + 50 if status is DeliveryStatus.DELIVERED else None
    names: dict[str, Any] = {
        "id": f"dl-{number:05d}",
        "event_id": f"evt-{number}",
        "receiver": "ep",
        "endpoint_id": "ep",
    }
    of: dict[str, Any] = {"owner": OWNERS[number % 3], "transcription_id": f"job-{number:05d}"}
    return Delivery(**names, **of, status=status, created_at_ms=at_ms, delivered_at_ms=delivered_at_ms)


async def fill(db: Database, chance: random.Random, number: int) -> None:
    """A week of finished jobs and their deliveries, some of which are still under way."""
    kinds = [(kind[0], kind[1]) for kind in JOBS.good + JOBS.bad]
    moments = [chance.randrange(NOW_MS - 7 * DAY_MS, NOW_MS) for _ in range(number)]
    rows = []
    for place, at_ms in enumerate(moments):
        stage, source = chance.choice(kinds)
        rows.append(job(place, stage=stage, learned_from=source, finished_at_ms=at_ms))
    sent = [delivery(place, at_ms, chance.choice(list(DeliveryStatus))) for place, at_ms in enumerate(moments)]
    await db.write(lambda session: insert_all(session, rows))
    await db.write(lambda session: insert_all(session, sent))


def job_of(session: Session, number: int) -> Transcription | None:
    return transcriptions.get(session, f"job-{number:05d}", None)


def retry(session: Session, number: int) -> None:
    if (found := job_of(session, number)) is not None:
        transcriptions.mark_for_another_attempt(session, found, NOW_MS)


def finish_late(session: Session, number: int) -> None:
    """By a process whose clock, or whose commit, is hours behind."""
    if (found := job_of(session, number)) is not None:
        late_ms = NOW_MS - number * HOUR_MS
        ending = JobResult(found.id, found.attempt, Stage.COMPLETED, late_ms, "reconciler")
        transcriptions.mark_finished(session, ending)


def remove(session: Session, number: int) -> None:
    transcriptions.remove(session, f"job-{number:05d}")
    events.clear_results(session, f"job-{number:05d}")


def send_again(session: Session, number: int) -> None:
    if (found := deliveries.get(session, f"dl-{number:05d}", None)) is not None:
        deliveries.retry(session, found, NOW_MS)


def run(session: Session, statement: str) -> None:
    session.execute(text(statement))


def abandon(session: Session, number: int) -> None:
    """Every delivery of the endpoint; `number` chooses nothing here."""
    endpoints.exhaust_deliveries(session, "ep")


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 4))])
async def test_figures_stay_exact_whatever_happens_after_the_count(db: Database, seed: int) -> None:
    chance = random.Random(seed)
    await fill(db, chance, 60)
    await assert_exact(db)
    for _ in range(4):
        await count_all(db)
        await assert_exact(db)
        for _ in range(5):
            change = chance.choice([retry, retry, finish_late, remove, send_again, abandon])
            number = chance.randrange(60)
            await db.write(partial(change, number=number))
            await assert_exact(db)


async def test_an_hour_is_counted_once_and_again_only_after_a_change(db: Database) -> None:
    at_ms = NOW_MS - 50 * HOUR_MS
    await db.write(
        lambda session: insert_all(
            session, [job(0, stage=Stage.FAILED, learned_from="webhook", finished_at_ms=at_ms)]
        )
    )
    assert await count_all(db) == UNTIL_MS // HOUR_MS - at_ms // HOUR_MS
    assert await count_all(db) == 0
    await db.write(partial(retry, number=0))
    assert await count_all(db) == 1
    assert summed(await figures_of(db, JOBS, None)) == {}


async def test_who_changes_rows_without_knowing_of_counts_changes_the_figures_too(db: Database) -> None:
    """As the release before does, or somebody by hand."""
    await fill(db, random.Random(9), 30)
    await count_all(db)
    for statement in (
        "UPDATE transcriptions SET stage = 'completed', learned_from = 'webhook' WHERE stage = 'failed'",
        "UPDATE deliveries SET status = 'delivered' WHERE status = 'pending'",
        "DELETE FROM deliveries WHERE owner = 'ann'",
        f"UPDATE transcriptions SET finished_at_ms = finished_at_ms - {HOUR_MS} WHERE owner = 'bob'",  # noqa: S608  # ours
        "DELETE FROM transcriptions WHERE owner = 'cid'",
    ):
        await db.write(partial(run, statement=statement))
        await assert_exact(db)
        await count_all(db)
        await assert_exact(db)


async def test_the_hour_that_is_not_over_is_never_counted(relay_app: RelayApp) -> None:
    await relay_app.finished((await relay_app.submit())["id"])
    assert await roll_up_hours(relay_app.relay) == 0
    figures = (await relay_app.client.get("/v1/stats?window=30d")).json()
    assert figures["jobs"]["completed"] == 1
    assert sum(one["completed"] for one in figures["jobs"]["intervals"]) == 1


async def test_durations_of_a_counted_hour_are_chosen_evenly_from_all_of_them(db: Database) -> None:
    at_ms = NOW_MS - 50 * HOUR_MS
    done = {"stage": Stage.COMPLETED, "learned_from": "webhook", "finished_at_ms": at_ms}
    await db.write(lambda session: insert_all(session, [job(number, **done) for number in range(1_000)]))
    await count_all(db)
    found = await figures_of(db, JOBS, None)
    kept = [duration for one in found for durations in one.durations_ms.values() for duration in durations]
    assert SAMPLE / 2 <= len(kept) <= SAMPLE
    median, p95 = quantiles(found, 0.5, 0.95)
    assert median is not None
    assert p95 is not None
    assert abs(median - 1_500) < 100  # they took 1,000 to 1,999 ms
    assert abs(p95 - 1_950) < 100


async def test_a_change_under_way_keeps_its_hour_from_being_counted(postgres_database: str) -> None:
    """The count would not see it, and the change would not see the count."""
    await _with_two(postgres_database, _change_first)


async def test_a_change_waits_for_a_count_under_way_and_then_deletes_it(postgres_database: str) -> None:
    await _with_two(postgres_database, _count_first)


async def _change_first(changing: AsyncConnection, counting: AsyncConnection, hour_ms: int) -> None:
    await in_session(changing, partial(remove, number=0))
    assert not await _counted(counting, hour_ms)
    assert await _counted(counting, hour_ms - HOUR_MS)
    await counting.rollback()
    await changing.commit()
    assert await _counted(counting, hour_ms)
    await counting.commit()


async def _count_first(changing: AsyncConnection, counting: AsyncConnection, hour_ms: int) -> None:
    assert await _counted(counting, hour_ms)
    change = asyncio.create_task(in_session(changing, partial(remove, number=0)))
    assert not (await asyncio.wait({change}, timeout=0.3))[0]
    await counting.commit()
    await change
    await changing.commit()


async def _counted(connection: AsyncConnection, hour_ms: int) -> bool:
    return await in_session(connection, partial(hourly.count_hours_once, subject=JOBS, hour_ms=hour_ms))


async def _with_two(url: str, act: Any) -> None:
    """`act` with two connections and the hour of a job, which is gone afterwards, and nothing kept says else."""
    engine = create_async_engine(engine_url(url))
    hour_ms = NOW_MS - NOW_MS % HOUR_MS - 50 * HOUR_MS
    done = {"stage": Stage.COMPLETED, "learned_from": "webhook", "finished_at_ms": hour_ms + 1}
    async with engine.begin() as connection:
        await in_session(connection, partial(insert_all, rows=[job(0, **done)]))
    async with engine.connect() as changing, engine.connect() as counting:
        await act(changing, counting, hour_ms)
    async with engine.connect() as connection:
        window = window_of("7d", NOW_MS)
        found = await in_session(
            connection, partial(hourly.finished_hours, subject=JOBS, window=window, owner=None)
        )
        assert summed(found) == {}
    await engine.dispose()
