"""Databases and the house. Every test that takes `database_url` runs on SQLite and on PostgreSQL."""

import itertools
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from service.db import Database, open_database
from service.migrate import upgrade
from service.wakeups import Wakeups
from tests.support.house import House, open_house
from tests.support.postgres import aside, execute, postgres_server, run_on

numbers = itertools.count()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file, copied for each test."""
    path = tmp_path_factory.mktemp("template") / "relay.db"
    aside(upgrade, f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A server with a migrated template database, cloned for each test."""
    with postgres_server() as url:
        template = f"relay_template_{os.getpid()}"
        run_on(url, f"CREATE DATABASE {template}")
        aside(upgrade, f"{url}/{template}")
        yield url
        if os.environ.get("TEST_DATABASE_URL"):
            run_on(url, f"DROP DATABASE {template}")


@pytest.fixture(params=["sqlite", "postgres"])
async def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """A migrated database of the test's own."""
    if request.param == "sqlite":
        template = request.getfixturevalue("sqlite_template")
        shutil.copy(template, tmp_path / "relay.db")
        yield f"sqlite:///{tmp_path / 'relay.db'}"
        return
    server = request.getfixturevalue("postgres_url")
    name = f"relay_test_{os.getpid()}_{next(numbers)}"
    await execute(server, f"CREATE DATABASE {name} TEMPLATE relay_template_{os.getpid()}")
    yield f"{server}/{name}"
    await execute(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def postgres_database(postgres_url: str) -> AsyncIterator[str]:
    """A migrated database for what only PostgreSQL can do: several processes."""
    name = f"relay_test_{os.getpid()}_{next(numbers)}"
    await execute(postgres_url, f"CREATE DATABASE {name} TEMPLATE relay_template_{os.getpid()}")
    yield f"{postgres_url}/{name}"
    await execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    """The database alone, open."""
    async with open_database(database_url, Wakeups()) as database:
        yield database


@pytest.fixture
async def house(database_url: str) -> AsyncIterator[House]:
    """Everything, on a database of its own."""
    async with open_house(database_url) as opened:
        yield opened
