"""The schema: made by the revisions, equal to the tables, the same on both databases."""

import re
from collections.abc import AsyncIterator
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import CheckConstraint, Connection, inspect
from sqlalchemy.exc import IntegrityError
from sqlmodel import SQLModel

from service.db.database import Database
from service.db.engines import Work, open_engine
from service.db.schema import HEAD, REQUIRED, check_schema, configuration, scripts_folder, upgrade
from service.lifecycle import DeliveryStatus, Stage
from service.store.statements import insert_all
from service.tables import Transcription
from tests.support.postgres import aside, execute
from tests.support.revisions import SCRIPTS, phase_of, revision_of
from tests.support.rows import all_of

T = TypeVar("T")
TABLES = set(SQLModel.metadata.tables)
CHECKED = {"ck_transcriptions_stage": Stage, "ck_deliveries_status": DeliveryStatus}


@pytest.fixture(params=["sqlite", "postgres"])
async def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """A database without a table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'new.db'}"
        return
    server = request.getfixturevalue("postgres_url")
    await execute(server, "CREATE DATABASE relay_empty")
    yield f"{server}/relay_empty"
    await execute(server, "DROP DATABASE relay_empty WITH (FORCE)")


async def look(url: str, work: Work[T]) -> T:
    """What `work` finds in a database that nobody has opened."""
    engine = open_engine(url, 1, pooled=False)
    try:
        return await engine.read(work)
    finally:
        await engine.close()


async def tables_of(url: str) -> set[str]:
    return await look(url, lambda connection: set(inspect(connection).get_table_names()))


async def test_the_revisions_lead_from_nothing_to_all_tables_and_back(empty_url: str) -> None:
    aside(upgrade, empty_url)
    assert await tables_of(empty_url) >= TABLES | {"alembic_version"}
    aside(upgrade, empty_url)  # a second time changes nothing
    aside(command.downgrade, configuration(empty_url), "base")
    assert await tables_of(empty_url) == {"alembic_version"}
    aside(upgrade, empty_url)
    assert await tables_of(empty_url) >= TABLES


async def test_the_revisions_and_the_tables_say_the_same(database_url: str) -> None:
    """Autogenerate finds nothing to add; it raises if it does."""
    aside(command.check, configuration(database_url))


async def test_an_old_schema_is_told_from_the_one_that_is_needed(empty_url: str) -> None:
    aside(command.upgrade, configuration(empty_url), "0001")
    found = await look(empty_url, check_schema)
    assert found
    assert found.reason == f"schema is at 0001, needed is {REQUIRED}"
    aside(upgrade, empty_url)
    assert await look(empty_url, check_schema) is None


def test_every_revision_says_whether_it_comes_before_the_new_processes_or_after_the_old_ones() -> None:
    """`phase = "pre-deploy"` in its file, as docs/decisions/two-releases.md explains."""
    assert [script.name for script in SCRIPTS if phase_of(script) is None] == []


def test_the_needed_revision_is_the_one_alembic_ends_at() -> None:
    assert ScriptDirectory(str(scripts_folder())).get_current_head() == HEAD
    assert [revision_of(script) for script in SCRIPTS if phase_of(script) == "pre"][-1] == REQUIRED


@pytest.mark.parametrize(("name", "words"), CHECKED.items())
async def test_the_words_of_the_code_are_those_the_database_allows(
    database_url: str, name: str, words: type[StrEnum]
) -> None:
    def checks(connection: Connection) -> dict[str | None, str]:
        every = [inspect(connection).get_check_constraints(table) for table in TABLES]
        return {check["name"]: check["sqltext"] for of_table in every for check in of_table}

    found = await look(database_url, checks)
    assert set(re.findall(r"'([a-z_]+)'", found[name])) == {str(word) for word in words}


def test_every_check_of_the_tables_is_compared_with_its_words() -> None:
    checks = {
        constraint.name
        for table in SQLModel.metadata.tables.values()
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint)
    }
    assert checks == set(CHECKED)


async def test_another_word_is_refused_by_the_database(db: Database) -> None:
    stray = Transcription(id="a", owner="o", stage="lost", created_at_ms=1, filename="f", model="m")
    with pytest.raises(IntegrityError):
        await db.write(lambda session: insert_all(session, [stray]))


async def test_moments_after_2038_and_large_sizes_fit_in(db: Database) -> None:
    far = 2**53
    row = Transcription(id="a", owner="o", created_at_ms=far, due_at_ms=far, filename="f", model="m")
    await db.write(lambda session: insert_all(session, [row]))
    [found] = await all_of(db, Transcription)
    assert (found.created_at_ms, found.due_at_ms) == (far, far)
