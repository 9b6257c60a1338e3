"""The database: writes that arrive together share a commit, and every failure stays with its own write."""

import asyncio
import functools
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.util import await_only

from service import db as db_module
from service import engines
from service.clock import wall_ms
from service.db import CLAIMS, STATEMENTS, TRANSACTIONS, Bulk, Database, by_itself, open_database
from service.errors import DatabaseDown, Overloaded
from service.store import heartbeats, webhooks
from service.store.webhooks import Hint
from service.wakeups import Wakeups
from tests.support.postgres import execute
from tests.support.waiting import until

NOW_MS = 1_732_060_800_000
KICK_OUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'"


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    """A database with the wake-ups of its own."""
    async with open_database(url, Wakeups()) as database:
        yield database


def beat(name: str) -> Any:
    """A write that leaves one row of that name, and gives the name back."""

    async def step(connection: AsyncConnection) -> str:
        await heartbeats.beat(connection, name, NOW_MS, {})
        return name

    return step


async def refused(connection: AsyncConnection) -> None:
    """A write that the database refuses for what it is."""
    row = {"n": "same", "t": NOW_MS}
    statement = text("INSERT INTO heartbeats (name, at_ms, detail) VALUES (:n, :t, '{}')")
    await connection.execute(statement, [row, row])


async def names(database: Database) -> list[str]:
    """The rows that are there."""
    async with database.read() as connection:
        return list((await connection.execute(text("SELECT name FROM heartbeats ORDER BY name"))).scalars())


def count_commits(database: Database) -> list[int]:
    """A list that grows by one with each commit."""
    commits: list[int] = []
    event.listen(database.engine, "commit", lambda _connection: commits.append(1))
    return commits


async def test_writes_that_arrive_together_share_a_commit(db: Database) -> None:
    commits = count_commits(db)
    results = await asyncio.gather(*[db.write(beat(f"{number:03}")) for number in range(200)])
    assert results == [f"{number:03}" for number in range(200)]
    assert await names(db) == results
    assert len(commits) <= 4


async def test_alike_writes_reach_the_database_as_one_and_get_a_result_each(db: Database) -> None:
    sizes = []

    async def bulk(connection: AsyncConnection, items: list[str]) -> list[str]:
        sizes.append(len(items))
        for item in items:
            await heartbeats.beat(connection, item, NOW_MS, {})
        return [item.upper() for item in items]

    given = [f"row-{number:02}" for number in range(50)]
    assert await asyncio.gather(*[db.write_one_of(bulk, item) for item in given]) == [
        item.upper() for item in given
    ]
    assert await names(db) == given
    assert len(sizes) <= 3


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

    async def ask(connection: AsyncConnection) -> list[Any]:
        questions = ("PRAGMA synchronous", "PRAGMA journal_mode") if db.is_sqlite else ("SHOW synchronous_commit",)
        return [(await connection.execute(text(question))).scalar() for question in questions]

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


async def _broken(connection: AsyncConnection) -> None:
    await heartbeats.beat(connection, "half-done", NOW_MS, {})
    raise ZeroDivisionError


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
    monkeypatch.setattr(db_module, "LONGEST_QUEUE", 3)
    results = await asyncio.gather(*[db.write(beat(str(n))) for n in range(10)], return_exceptions=True)
    assert [type(result) for result in results] == [str] * 3 + [Overloaded] * 7
    assert await names(db) == ["0", "1", "2"]
    assert await db.write(beat("later")) == "later"


async def test_a_single_statement_waits_for_no_transaction_on_postgresql(db: Database) -> None:
    """So that a webhook is acknowledged while a long transaction is under way."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def dawdle(connection: AsyncConnection) -> str:
        await heartbeats.beat(connection, "slow", NOW_MS, {})
        begun.set()
        if not db.is_sqlite:  # where a transaction may wait for nothing but the database
            await_only(go_on.wait())
        return "slow"

    slow = asyncio.create_task(db.write(dawdle))
    await asyncio.wait_for(begun.wait(), 30)
    hint = Hint("w1", "job", "soniox", "completed", "webhook", NOW_MS)
    await asyncio.wait_for(db.write_one_of(webhooks.record, hint), 30)
    assert db.is_sqlite or not slow.done()
    go_on.set()
    assert await slow == "slow"
    async with db.read() as connection:
        assert await webhooks.waiting(connection) == 1


@pytest.mark.parametrize("slow_line", [TRANSACTIONS, STATEMENTS, CLAIMS])
async def test_no_line_of_writes_waits_for_another_one_on_postgresql(db: Database, slow_line: str) -> None:
    begun, go_on, loop = asyncio.Event(), asyncio.Event(), asyncio.get_running_loop()

    async def dawdle(connection: AsyncConnection, items: list[str]) -> list[str]:
        loop.call_soon_threadsafe(begun.set)
        if not db.is_sqlite:  # where there is one line
            await_only(go_on.wait())
        return await each_beats(connection, items)

    slow = asyncio.create_task(db.write_one_of(in_line(slow_line, dawdle), "slow"))
    await asyncio.wait_for(begun.wait(), 30)
    for line in {TRANSACTIONS, STATEMENTS, CLAIMS} - {slow_line}:
        quick = in_line(line, functools.partial(each_beats))
        assert await asyncio.wait_for(db.write_one_of(quick, line), 30) == line
    assert db.is_sqlite or not slow.done()
    go_on.set()
    await slow
    assert len(await names(db)) == 3


async def test_of_what_is_committed_by_itself_a_kind_that_fails_harms_no_other(db: Database) -> None:
    async def fail(connection: AsyncConnection, _items: list[str]) -> list[str]:
        await refused(connection)
        return []

    good, bad = in_line(STATEMENTS, functools.partial(each_beats)), in_line(STATEMENTS, fail)
    results = await asyncio.gather(
        *(db.write_one_of(kind, name) for kind, name in [(good, "a"), (bad, "b"), (good, "c"), (bad, "d")]),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [str, IntegrityError, str, IntegrityError]
    assert await names(db) == ["a", "c"]


async def test_of_what_is_committed_by_itself_each_statement_stays_whatever_follows(db: Database) -> None:
    async def fail(connection: AsyncConnection, items: list[str]) -> list[str]:
        await each_beats(connection, items)
        raise ZeroDivisionError

    everywhere = by_itself(STATEMENTS, on_sqlite=True)(functools.partial(fail))
    only_on_postgresql = by_itself(STATEMENTS)(functools.partial(fail))
    for kind, name in ((everywhere, "a"), (only_on_postgresql, "b")):
        with pytest.raises(ZeroDivisionError):
            await db.write_one_of(kind, name)
    assert await names(db) == (["a"] if db.is_sqlite else ["a", "b"])


async def test_what_comes_with_what_is_committed_by_itself_is_kept_whole_or_not_at_all(db: Database) -> None:
    bulk = by_itself(STATEMENTS, on_sqlite=True)(functools.partial(each_beats))
    commits = count_commits(db)
    await asyncio.gather(db.write_one_of(bulk, "a"), db.write(beat("b")), db.write_one_of(bulk, "c"))
    assert len(commits) == (1 if db.is_sqlite else 2)
    await asyncio.gather(db.write_one_of(bulk, "d"), db.write(_broken), return_exceptions=True)
    assert await names(db) == ["a", "b", "c", "d"]


async def each_beats(connection: AsyncConnection, items: list[str]) -> list[str]:
    """Many writes of one kind."""
    for name in items:
        await heartbeats.beat(connection, name, NOW_MS, {})
    return items


def in_line(line: str, bulk: Bulk) -> Bulk:
    """Marked to wait in this line; nothing is marked for the line of transactions."""
    return bulk if line == TRANSACTIONS else by_itself(line)(bulk)


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
    with pytest.raises(DatabaseDown):
        await asyncio.wait_for(database.write(beat("late")), 5)


async def test_a_postgresql_that_is_gone_says_so_and_is_used_again_when_it_is_back(postgres_url: str) -> None:
    name = "relay_that_goes"
    async with database_of_its_own(postgres_url, name) as database:
        await database.write(beat("before"))
        await execute(postgres_url, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await execute(postgres_url, KICK_OUT.format(name))
        for _ in range(3):  # the broken connection first, then no new one
            with pytest.raises(DatabaseDown):
                await database.write(beat("during"))
            with pytest.raises(DatabaseDown):
                await names(database)
        await execute(postgres_url, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        assert await database.write(beat("after")) == "after"
        assert await names(database) == ["after", "before"]


async def test_connections_that_were_closed_while_idle_are_replaced_unnoticed(postgres_url: str) -> None:
    name = "relay_that_closes"
    async with database_of_its_own(postgres_url, name) as database:
        connections: list[Any] = []
        event.listen(database.engine, "connect", lambda _made, record: connections.append(record))
        await asyncio.gather(in_all_lines(database, "before"), names(database), names(database))
        assert connections
        await execute(postgres_url, KICK_OUT.format(name))
        await until(lambda: all(each.driver_connection.is_closed() for each in connections))
        await in_all_lines(database, "after")
        for found in await asyncio.gather(names(database), names(database)):
            assert found == sorted(written("after", "before"))


def written(*times: str) -> list[str]:
    return [f"{line} {time}" for time in times for line in (TRANSACTIONS, STATEMENTS, CLAIMS)]


async def in_all_lines(database: Database, time: str) -> None:
    """A write in each line, so that each has its connection."""
    lines = (TRANSACTIONS, STATEMENTS, CLAIMS)
    kinds = [in_line(line, functools.partial(each_beats)) for line in lines]
    pairs = zip(kinds, written(time), strict=True)
    await asyncio.gather(*(database.write_one_of(kind, name) for kind, name in pairs))


@asynccontextmanager
async def database_of_its_own(postgres_url: str, name: str) -> AsyncIterator[Database]:
    """On a PostgreSQL database that nobody else uses, with the table of `beat`."""
    await execute(postgres_url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    await execute(postgres_url, f"CREATE DATABASE {name}")
    async with opened(f"{postgres_url}/{name}") as database:
        await database.write(_make_table)
        yield database
    await execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


async def _make_table(connection: AsyncConnection) -> None:
    await connection.execute(text("CREATE TABLE heartbeats (name text PRIMARY KEY, at_ms bigint, detail json)"))


async def test_writes_that_stand_in_each_others_way_are_all_done_in_the_end(
    db: Database, database_url: str
) -> None:
    """Two transactions that lock the same rows in opposite order: PostgreSQL ends one, the relay runs it again."""
    both_hold_one = asyncio.Barrier(2)
    begun: list[str] = []

    def crossing(first: str, second: str) -> Any:
        async def step(connection: AsyncConnection) -> str:
            await heartbeats.beat(connection, first, NOW_MS, {})
            if first not in begun:
                begun.append(first)
                if not db.is_sqlite:
                    await_only(both_hold_one.wait())
            await heartbeats.beat(connection, second, NOW_MS, {})
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
        with pytest.raises(DatabaseDown) as down:
            await database.write(beat("x"))
        assert "pa55word" not in str(down.value)
        with pytest.raises(DatabaseDown):
            await names(database)


async def test_a_sqlite_file_that_somebody_else_locks_says_so_and_is_used_again_afterwards(
    sqlite_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "LONGEST_LOCK_S", 0.2)
    path = tmp_path / "relay.db"
    shutil.copy(sqlite_template, path)
    async with opened(f"sqlite:///{path}") as database:
        async with locked(path):
            results = await asyncio.gather(*[database.write(beat(n)) for n in "abc"], return_exceptions=True)
            assert [type(result) for result in results] == [DatabaseDown] * 3
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
