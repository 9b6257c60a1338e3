"""`migrate-data`: a relay with work in every state goes from SQLite to PostgreSQL, and goes on there."""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Table, select, text
from sqlmodel import Session

from service.db.database import Step, open_database
from service.db.engines import open_engine, single_process_lock
from service.db.notify import Notifier
from service.settings import Settings
from service.store import search, transfer
from tests.support.command_line import Cli
from tests.support.postgres import execute
from tests.support.relay_processes import open_relay_processes


@pytest.fixture
async def target(postgres_url: str) -> AsyncIterator[str]:
    """A PostgreSQL database without a table."""
    await execute(postgres_url, "CREATE DATABASE relay_target")
    yield f"{postgres_url}/relay_target"
    await execute(postgres_url, "DROP DATABASE relay_target WITH (FORCE)")


@pytest.fixture
def source_file(sqlite_template: Path, tmp_path: Path) -> Path:
    """A migrated SQLite file of the test's own."""
    return Path(shutil.copy(sqlite_template, tmp_path / "relay.db"))


async def migrate_data(source: str, target: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, in a process of its own."""
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "service", "migrate-data", "--from", source, "--to", target, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


async def rows_of(url: str) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table, as the code sees it."""
    engine = open_engine(url, 1, pooled=False)
    try:
        return await engine.read(
            lambda connection: {table.name: _all(connection, table) for table in transfer.TABLES}
        )
    finally:
        await engine.close()


def _all(connection: Connection, table: Table) -> list[dict[str, Any]]:
    rows = connection.execute(select(table).order_by(*table.primary_key.columns))
    return [dict(row._mapping) for row in rows]


async def test_a_relay_with_work_in_every_state_goes_on_after_the_move(source_file: Path, target: str) -> None:
    source = f"sqlite:///{source_file}"
    async with open_relay_processes(source) as processes:
        await processes.start()
        await processes.until_up(within_s=60)
        for number in range(6):
            await processes.submit(number, with_file=number % 2 == 0)
        assert (await processes.settled()).is_clean()
        transcript = await processes.client.get(f"/v1/transcriptions/{processes.submitted[0]}/transcript")
        words = {"q": transcript.json()["text"].split()[0], "limit": 100}
        searched = (await processes.client.get("/v1/search", params=words)).json()
        await processes.lose_webhooks(100)
        await processes.client.post("/v1/files", files={"file": ("kept.wav", b"audio" * 300_000)})
        for number in range(6, 18):
            await processes.submit(number, with_file=number % 2 == 0)
        await processes.kill()  # leases held, creates under way, deliveries unsent
        before = await rows_of(source)
        assert {row["stage"] for row in before["transcriptions"]} > {"completed"}

        done = await migrate_data(source, target)
        assert done.returncode == 0, done.stderr
        assert await rows_of(target) == before == await rows_of(source)

        processes.database_url = target
        await processes.lose_webhooks(0)
        await processes.start()
        await processes.until_up(within_s=60)
        found = (await processes.client.get("/v1/search", params=words)).json()
        assert found["hits"][-len(searched["hits"]) :] == searched["hits"] != []
        await processes.submit(0, with_file=True)  # the same Idempotency-Key: the job that was moved
        assert len(set(processes.submitted)) == 18
        await processes.submit(18, with_file=True)
        account = await processes.settled(within_s=90)
        assert account.is_clean(), account
        assert len(set(processes.submitted)) == 19


async def test_new_rows_are_numbered_after_all_that_ever_were(source_file: Path, target: str) -> None:
    async with open_database(f"sqlite:///{source_file}", Notifier()) as db:
        for statement in (
            "INSERT INTO events (seq, xact, id, type, owner, created_at_ms, body)"
            " VALUES (41, 0, 'e', 't', 'o', 1, '')",
            "DELETE FROM events",  # whoever has read up to 41 must see the next one
        ):
            await db.write(run(statement))
    assert (await migrate_data(f"sqlite:///{source_file}", target)).returncode == 0
    async with open_database(target, Notifier()) as db:
        assert await db.write(next_of("events", "seq")) == 42
        assert await db.write(next_of("timeline", "id")) == 1


def run(statement: str) -> Step[object]:
    def step(session: Session) -> object:
        return session.execute(text(statement))

    return step


def next_of(table: str, serial: str) -> Step[int]:
    query = text(f"SELECT nextval(pg_get_serial_sequence('{table}', '{serial}'))")

    def step(session: Session) -> int:
        return int(session.execute(query).scalar_one())

    return step


async def test_every_column_that_the_database_numbers_is_known(postgres_database: str) -> None:
    query = "SELECT table_name, column_name FROM information_schema.columns WHERE column_default LIKE 'nextval%'"
    query += " AND table_name <> 'model_list'"  # its only row is number 1
    async with open_database(postgres_database, Notifier()) as db:
        found = await db.read(lambda session: session.execute(text(query)).all())
    assert {row.table_name: row.column_name for row in found} == transfer.SERIALS


async def test_a_target_that_is_not_empty_is_refused_and_left_alone(
    source_file: Path, postgres_database: str
) -> None:
    async with open_database(postgres_database, Notifier()) as db:
        row = "INSERT INTO heartbeats (name, at_ms, detail) VALUES ('a', 1, '{}')"
        await db.write(run(row))
    done = await migrate_data(f"sqlite:///{source_file}", postgres_database)
    assert done.returncode == 2
    assert "not empty, it has rows in heartbeats" in done.stderr
    assert len((await rows_of(postgres_database))["heartbeats"]) == 1


async def test_a_file_that_a_relay_works_on_is_refused(source_file: Path, postgres_database: str) -> None:
    url = f"sqlite:///{source_file}"
    with single_process_lock(Settings.model_construct(database_url=url)):
        done = await migrate_data(url, postgres_database)
    assert done.returncode == 2
    assert "another relay process" in done.stderr


async def test_a_move_that_breaks_off_leaves_the_target_empty(
    source_file: Path, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from service.services import maintenance as mover  # noqa: PLC0415  # the module, beside the store's of that name

    async with open_database(f"sqlite:///{source_file}", Notifier()) as db:
        row = "INSERT INTO heartbeats (name, at_ms, detail) VALUES ('a', 1, '{}')"
        await db.write(run(row))

    def broken(*_: object) -> None:
        raise OSError("the network went away")

    monkeypatch.setattr(search, "put_words", broken)
    monkeypatch.setattr(search, "all_words", lambda _connection: [[(1, ["word"])]])
    with pytest.raises(OSError, match="went away"):
        await mover.move_data(f"sqlite:///{source_file}", postgres_database)
    assert not any((await rows_of(postgres_database)).values())


def test_databases_of_the_wrong_kind_are_usage_errors(tmp_path: Path) -> None:
    cli = Cli(tmp_path, {})
    wrong = [
        ("postgresql://x/y", "postgresql://x/y"),
        ("sqlite:///none.db", "postgresql://x/y"),
        ("sqlite:///none.db", "sqlite:///other.db"),
    ]
    for source, target in wrong:
        assert cli("migrate-data", "--from", source, "--to", target).returncode == 2
    assert list(tmp_path.iterdir()) == []
