"""The database: writes that arrive together share a commit, and every failure stays with its own write."""

import asyncio
import shutil
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, Pool, event, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.util import await_only
from sqlmodel import Session

from service.clock import wall_ms
from service.db import database as db_module
from service.db import engines
from service.db.database import Database, open_database
from service.db.notify import Notifier
from service.errors import DatabaseDownError, OverloadedError
from service.store import system, transcription_queries
from service.tables import TimelineEntry
from tests.support.postgres import execute
from tests.support.waiting import until

NOW_MS = 1_732_060_800_000
KICK_OUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'"


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    """A database with the wake-ups of its own."""
    async with open_database(url, Notifier()) as database:
        yield database


def beat(name: str) -> Any:
    """A write that leaves one row of that name, and gives the name back."""

    def step(session: Session) -> str:
        system.record_heartbeat(session, name, NOW_MS, {})
        return name

    return step


def refused(session: Session) -> None:
    """A write that the database refuses for what it is."""
    row = {"n": "same", "t": NOW_MS}
    statement = text("INSERT INTO heartbeats (name, at_ms, detail) VALUES (:n, :t, '{}')")
    session.execute(statement, [row, row])


async def names(database: Database) -> list[str]:
    """The rows that are there."""
    query = text("SELECT name FROM heartbeats ORDER BY name")
    return await database.read(lambda session: list(session.scalars(query)))


@pytest.fixture
def commits() -> Iterator[list[int]]:
    """A list that grows by one with each commit."""
    seen: list[int] = []

    def note(_connection: Any) -> None:
        seen.append(1)

    event.listen(Engine, "commit", note)
    yield seen
    event.remove(Engine, "commit", note)


@pytest.fixture
def connections() -> Iterator[list[Any]]:
    """All connections that were made."""
    made: list[Any] = []

    def note(_connection: Any, record: Any) -> None:
        made.append(record)

    event.listen(Pool, "connect", note)
    yield made
    event.remove(Pool, "connect", note)


async def test_writes_that_arrive_together_share_a_commit(db: Database, commits: list[int]) -> None:
    results = await asyncio.gather(*[db.write(beat(f"{number:03}")) for number in range(200)])
    assert results == [f"{number:03}" for number in range(200)]
    assert await names(db) == results
    assert len(commits) <= 4


async def test_a_burst_reaches_its_function_at_once_in_order_and_gets_a_result_each(db: Database) -> None:
    seen: list[list[str]] = []

    def shout(session: Session, items: list[str]) -> list[str]:
        seen.append(items)
        return [name.upper() for name in each_beats(session, items)]

    given = [f"row-{number:02}" for number in range(50)]
    results = await asyncio.gather(*[db.write_many(shout, item) for item in given])
    assert results == [item.upper() for item in given]
    assert await names(db) == given
    assert [item for items in seen for item in items] == given
    assert len(seen) <= 3


async def test_bursts_of_several_kinds_and_single_writes_share_a_commit(db: Database, commits: list[int]) -> None:
    def loudly(session: Session, items: list[str]) -> list[str]:
        return [name.upper() for name in each_beats(session, items)]

    writes = [db.write_many(each_beats, "a"), db.write(beat("b")), db.write_many(loudly, "c")]
    assert await asyncio.gather(*writes, db.write_many(each_beats, "d")) == ["a", "b", "C", "d"]
    assert await names(db) == ["a", "b", "c", "d"]
    assert len(commits) == 1


async def test_a_bad_item_of_a_burst_fails_alone(db: Database) -> None:
    def stumble(session: Session, items: list[str]) -> list[str]:
        each_beats(session, items)
        if "bad" in items:
            raise ZeroDivisionError
        return items

    writes = [db.write_many(stumble, name) for name in ("a", "bad", "b")]
    results = await asyncio.gather(*writes, db.write(beat("c")), return_exceptions=True)
    assert [type(result) for result in results] == [str, ZeroDivisionError, str, str]
    assert await names(db) == ["a", "b", "c"]


def each_beats(session: Session, items: list[str]) -> list[str]:
    """Many writes of one kind."""
    for name in items:
        system.record_heartbeat(session, name, NOW_MS, {})
    return items


async def test_a_result_comes_only_after_the_commit(db: Database) -> None:
    """Another connection sees the row as soon as the writer has its answer."""
    for number in range(20):
        await db.write(beat(f"{number:02}"))
        assert f"{number:02}" in await names(db)


async def test_what_is_committed_is_on_disk(database_url: str) -> None:
    """The server of the tests need not; the relay leaves standing what its operator has set for the database."""
    if database_url.startswith("postgresql"):
        server, name = database_url.rsplit("/", 1)
        await execute(server, f"ALTER DATABASE {name} SET synchronous_commit = on")

    def ask(session: Session) -> list[Any]:
        questions = ("PRAGMA synchronous", "PRAGMA journal_mode") if db.is_sqlite else ("SHOW synchronous_commit",)
        return [session.scalar(text(question)) for question in questions]

    async with opened(database_url) as db:
        assert await db.write(ask) == ([2, "wal"] if db.is_sqlite else ["on"])  # 2 is FULL


async def test_a_bad_write_harms_no_other(db: Database) -> None:
    writes = [db.write(beat(f"good-{number}")) for number in range(5)]
    writes.insert(2, db.write(refused))
    writes.append(db.write(_broken))
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert isinstance(results[2], IntegrityError)
    assert isinstance(results[-1], ZeroDivisionError)
    assert await names(db) == [f"good-{number}" for number in range(5)]
    assert [result for result in results if isinstance(result, str)] == await names(db)


def _broken(session: Session) -> None:
    system.record_heartbeat(session, "half-done", NOW_MS, {})
    raise ZeroDivisionError


async def test_a_write_that_runs_again_because_of_a_bad_one_leaves_its_rows_once(db: Database) -> None:
    entry = TimelineEntry(transcription_id="t", at_ms=NOW_MS, step="s", source="w")
    runs: list[int] = []

    def note(session: Session) -> None:
        runs.append(1)
        transcription_queries.add_timeline_entries(session, entry)

    await asyncio.gather(db.write(note), db.write(refused), return_exceptions=True)
    assert len(runs) == 2
    found = await db.read(lambda session: transcription_queries.timeline_of(session, "t"))
    assert [row.at_ms for row in found] == [NOW_MS]


async def test_a_write_sees_what_one_before_it_in_its_transaction_changed(db: Database) -> None:
    """Each has a session of its own, which remembers no row as another one has read it."""
    entry = TimelineEntry(transcription_id="t", at_ms=NOW_MS, step="before", source="w")

    def steps(session: Session) -> list[str]:
        return [row.step for row in transcription_queries.timeline_of(session, "t")]

    def change(session: Session) -> None:
        session.execute(text("UPDATE timeline SET step = 'after'"))

    await db.write(lambda session: transcription_queries.add_timeline_entries(session, entry))
    before, _, after = await asyncio.gather(db.write(steps), db.write(change), db.write(steps))
    assert (before, after) == (["before"], ["after"])


async def test_a_write_that_reads_a_row_again_sees_what_it_has_changed(db: Database) -> None:
    entry = TimelineEntry(transcription_id="t", at_ms=NOW_MS, step="before", source="w")

    def step(session: Session) -> str:
        transcription_queries.add_timeline_entries(session, entry)
        kept = transcription_queries.timeline_of(session, "t")
        session.execute(text("UPDATE timeline SET step = 'after'"))
        return transcription_queries.timeline_of(session, "t")[0].step + f" {len(kept)}"

    assert await db.write(step) == "after 1"


async def test_a_failed_write_leaves_nothing_of_itself(db: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        await db.write(_broken)
    assert await names(db) == []


async def test_a_cancelled_write_harms_no_other(db: Database) -> None:
    first = asyncio.create_task(db.write(beat("first")))
    cancelled = asyncio.create_task(db.write(beat("cancelled")))
    last = asyncio.create_task(db.write(beat("last")))
    await asyncio.sleep(0)
    cancelled.cancel()
    assert await first == "first"
    assert await last == "last"
    assert await names(db) == ["first", "last"]
    assert await db.write(beat("later")) == "later"


async def test_a_full_queue_refuses_and_takes_again_when_there_is_room(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db_module, "MAX_QUEUE", 3)
    results = await asyncio.gather(*[db.write(beat(str(n))) for n in range(10)], return_exceptions=True)
    assert [type(result) for result in results] == [str] * 3 + [OverloadedError] * 7
    assert await names(db) == ["0", "1", "2"]
    assert await db.write(beat("later")) == "later"


async def test_a_read_waits_for_no_write(db: Database) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    loop, thread_may_go_on = asyncio.get_running_loop(), threading.Event()

    def dawdle(session: Session) -> None:
        system.record_heartbeat(session, "slow", NOW_MS, {})
        loop.call_soon_threadsafe(begun.set)
        if db.is_sqlite:
            thread_may_go_on.wait(30)
        else:
            await_only(go_on.wait())

    slow = asyncio.create_task(db.write(dawdle))
    await asyncio.wait_for(begun.wait(), 30)
    assert await asyncio.wait_for(names(db), 30) == []
    assert not slow.done()
    go_on.set()
    thread_may_go_on.set()
    await slow
    assert await names(db) == ["slow"]


async def test_a_nul_is_left_out_of_every_text(db: Database) -> None:
    """PostgreSQL holds none; what comes in as a parameter of any statement loses it."""
    row = text("INSERT INTO heartbeats (name, at_ms, detail) VALUES (:n, 1, '{}')")

    def write(session: Session) -> None:
        session.execute(row, {"n": "a\0lone"})
        session.execute(row, [{"n": "one\0"}, {"n": "\0two"}])

    await db.write(write)
    assert await names(db) == ["alone", "one", "two"]
    found = text("SELECT name FROM heartbeats WHERE name = :n")
    assert await db.read(lambda session: session.scalar(found, {"n": "\0on\0e"})) == "one"


async def test_closing_commits_what_waits(database_url: str) -> None:
    async with opened(database_url) as database:
        waiting = [asyncio.create_task(database.write(beat(f"{number:02}"))) for number in range(30)]
        await asyncio.sleep(0)
    assert await asyncio.gather(*waiting) == [f"{number:02}" for number in range(30)]
    async with opened(database_url) as again:
        assert len(await names(again)) == 30


async def test_a_write_after_closing_is_refused_and_does_not_hang(database_url: str) -> None:
    async with opened(database_url) as database:
        pass
    with pytest.raises(DatabaseDownError):
        await asyncio.wait_for(database.write(beat("late")), 5)


async def test_a_postgresql_that_is_gone_says_so_and_is_used_again_when_it_is_back(postgres_url: str) -> None:
    name = "relay_that_goes"
    async with database_of_its_own(postgres_url, name) as database:
        await database.write(beat("before"))
        await execute(postgres_url, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await execute(postgres_url, KICK_OUT.format(name))
        for _ in range(3):  # the broken connection first, then no new one
            with pytest.raises(DatabaseDownError):
                await database.write(beat("during"))
            with pytest.raises(DatabaseDownError):
                await names(database)
        await execute(postgres_url, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        assert await database.write(beat("after")) == "after"
        assert await names(database) == ["after", "before"]


async def test_connections_that_were_closed_while_idle_are_replaced_unnoticed(
    postgres_url: str, connections: list[Any]
) -> None:
    name = "relay_that_closes"
    async with database_of_its_own(postgres_url, name) as database:
        await asyncio.gather(database.write(beat("before")), names(database), names(database))
        assert len(connections) > 1
        await execute(postgres_url, KICK_OUT.format(name))
        await until(lambda: all(each.driver_connection.is_closed() for each in connections))
        await database.write(beat("after"))
        for found in await asyncio.gather(names(database), names(database)):
            assert found == ["after", "before"]


@asynccontextmanager
async def database_of_its_own(postgres_url: str, name: str) -> AsyncIterator[Database]:
    """On a PostgreSQL database that nobody else uses, with the table of `beat`."""
    await execute(postgres_url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    await execute(postgres_url, f"CREATE DATABASE {name}")
    async with opened(f"{postgres_url}/{name}") as database:
        await database.write(_make_table)
        yield database
    await execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


def _make_table(session: Session) -> None:
    session.execute(text("CREATE TABLE heartbeats (name text PRIMARY KEY, at_ms bigint, detail json)"))


async def test_writes_that_stand_in_each_others_way_are_all_done_in_the_end(
    db: Database, database_url: str
) -> None:
    """Two transactions that lock the same rows in opposite order: PostgreSQL ends one, the relay runs it again."""
    both_hold_one = asyncio.Barrier(2)
    begun: list[str] = []

    def crossing(first: str, second: str) -> Any:
        def step(session: Session) -> str:
            system.record_heartbeat(session, first, NOW_MS, {})
            if first not in begun:
                begun.append(first)
                if not db.is_sqlite:
                    await_only(both_hold_one.wait())
            system.record_heartbeat(session, second, NOW_MS, {})
            return first

        return step

    async with opened(database_url) as another, asyncio.timeout(20):
        other = db if db.is_sqlite else another  # another process
        one = asyncio.create_task(db.write(crossing("a", "b")))
        await until(lambda: begun == ["a"])
        rest = [asyncio.create_task(other.write(step)) for step in (crossing("b", "a"), beat("c"))]
        assert await asyncio.gather(one, *rest) == ["a", "b", "c"]
        assert await names(db) == ["a", "b", "c"]


async def test_no_postgresql_at_all_says_so() -> None:
    async with opened("postgresql://nobody:pa55word@127.0.0.1:1/none") as database:
        with pytest.raises(DatabaseDownError) as down:
            await database.write(beat("x"))
        assert "pa55word" not in str(down.value)
        with pytest.raises(DatabaseDownError):
            await names(database)


async def test_a_sqlite_file_that_somebody_else_locks_says_so_and_is_used_again_afterwards(
    sqlite_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "LOCK_TIMEOUT_S", 0.2)
    path = tmp_path / "relay.db"
    shutil.copy(sqlite_template, path)
    async with opened(f"sqlite:///{path}") as database:
        async with locked(path):
            results = await asyncio.gather(*[database.write(beat(n)) for n in "abc"], return_exceptions=True)
            assert [type(result) for result in results] == [DatabaseDownError] * 3
        assert await database.write(beat("after")) == "after"
        assert await names(database) == ["after"]


@asynccontextmanager
async def locked(path: Path) -> AsyncIterator[None]:
    """Another program holds SQLite's write lock."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.close()


async def test_every_process_has_the_same_time(db: Database) -> None:
    ours = wall_ms()
    assert abs(await db.now_ms() - ours) < 5_000
