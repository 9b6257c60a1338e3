"""Databases and the relay app. Tests that take `database_url`, `db` or `relay_app` run on SQLite and PostgreSQL.

The mark `one_database` has a test run on SQLite alone, where the database makes no difference (the shapes of HTTP,
pages). All tests of a process share one event loop, and on it the Soniox double and the receiver.
"""

import itertools
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hypothesis
import pytest

from service.db.database import Database, open_database
from service.db.notify import Notifier
from service.db.schema import upgrade
from tests.support.postgres import aside, execute, postgres_server, run_on
from tests.support.relay_app import RelayApp, SharedNeighbours, open_neighbours, open_relay_app

numbers = itertools.count()

hypothesis.settings.register_profile("gate", max_examples=50, deadline=None)
hypothesis.settings.register_profile("long", max_examples=500, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "gate"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what uses a database on both kinds, unless it is marked."""
    if "database_url" in metafunc.fixturenames:
        marked = metafunc.definition.get_closest_marker("one_database")
        kinds = ["sqlite"] if marked else ["sqlite", "postgres"]
        metafunc.parametrize("database_url", kinds, indirect=True, scope="function")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The browser's tests are one group that one process runs: it begins first, so that nobody waits for it."""
    items.sort(key=lambda item: "tests/ui/" not in item.nodeid)


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


@pytest.fixture(scope="session", autouse=True)
async def neighbours_of_the_session() -> AsyncIterator[None]:
    """The Soniox double and the receiver that the tests of this process borrow, one after the other."""
    async with open_neighbours() as neighbours:
        SharedNeighbours.of_session = neighbours
        yield
        SharedNeighbours.of_session = None


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A migrated SQLite file of the test's own."""
    shutil.copy(sqlite_template, tmp_path / "relay.db")
    return f"sqlite:///{tmp_path / 'relay.db'}"


@pytest.fixture
async def postgres_database(postgres_url: str) -> AsyncIterator[str]:
    """A migrated database on PostgreSQL, for what only PostgreSQL can do: several processes."""
    name = f"relay_test_{os.getpid()}_{next(numbers)}"
    await execute(postgres_url, f"CREATE DATABASE {name} TEMPLATE relay_template_{os.getpid()} STRATEGY FILE_COPY")
    yield f"{postgres_url}/{name}"
    await execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated database of the test's own; `pytest_generate_tests` says which kinds."""
    fixture = {"sqlite": "sqlite_url", "postgres": "postgres_database"}[request.param]
    return str(request.getfixturevalue(fixture))


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    """The database alone, open."""
    async with open_database(database_url, Notifier()) as database:
        yield database


@pytest.fixture
async def relay_app(database_url: str) -> AsyncIterator[RelayApp]:
    """Everything, on a database of its own."""
    async with open_relay_app(database_url) as opened:
        yield opened
