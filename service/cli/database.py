"""Prepare the database for a command: set up, migrate, open."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from service.app import refuse_old_schema
from service.cli.console import CommandError
from service.db.engines import single_process_lock
from service.db.schema import HEAD
from service.errors import ConfigurationError
from service.relay import Relay, open_relay
from service.settings import Settings


def set_up_if_new(settings: Settings) -> None:
    """Create the schema in a SQLite file that has none, so that the first start needs one command."""
    if settings.is_sqlite and _has_no_tables(_file(settings)):
        with single_process_lock(settings):
            _set_up(settings)


def bring_up_to_date(settings: Settings, revision: str = HEAD) -> None:
    """Run the missing migrations up to `revision`. Raises CommandError when the database refuses."""
    from service.db.schema import upgrade

    if settings.is_sqlite:
        _file(settings)
    with refused_is_a_problem():
        upgrade(settings.direct_url, revision)


@contextmanager
def refused_is_a_problem() -> Iterator[None]:
    """Raise CommandError in place of any error that the database driver raises in the block."""
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        reason = type(getattr(error, "orig", None) or error).__name__
        raise CommandError(f"the database does not answer ({reason})", "see to it and to DATABASE_URL") from error


@asynccontextmanager
async def open_here(settings: Settings) -> AsyncIterator[Relay]:
    """Open a relay on the database, beside any process that serves it. Raises ConfigurationError."""
    async with open_relay(settings) as relay:
        await refuse_old_schema(relay)
        yield relay


def _set_up(settings: Settings) -> None:
    """Migrate in a child process, because migrations import a lot and this process may run for a year."""
    environment = {**os.environ, "DATABASE_URL": settings.database_url}
    command = [sys.executable, "-m", "service", "migrate"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603  # our command
    if done.returncode:
        raise CommandError(f"{settings.database_url} cannot be set up", done.stderr.strip())


def _file(settings: Settings) -> Path:
    path = Path(make_url(settings.database_url).database or "")
    if not path.parent.is_dir():
        raise ConfigurationError(f"DATABASE_URL: there is no folder {path.parent}")
    return path


def _has_no_tables(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(path)) as connection:
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        raise ConfigurationError(f"DATABASE_URL: {path} cannot be used ({error})") from None
    return bool(tables == 0)
