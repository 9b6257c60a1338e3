"""Bring the schema up to date, and tell when it is not."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from service.db import engine_url


def scripts_folder() -> Path:
    """The revisions: in the source tree beside this package, in an installed wheel inside it."""
    here = Path(__file__).parent
    return next(folder for folder in (here / "_migrations", here.parent / "migrations") if folder.is_dir())


def configuration(database_url: str) -> Config:
    """Alembic's, without a file."""
    config = Config()
    config.set_main_option("script_location", str(scripts_folder()))
    config.set_main_option("sqlalchemy.url", engine_url(database_url).replace("%", "%%"))
    return config


def upgrade(database_url: str) -> None:
    """Run all revisions that are missing. Starts an event loop of its own."""
    command.upgrade(configuration(database_url), "head")


def behind(connection: Connection) -> str | None:
    """None when the schema is the one this code needs; else which revision it has and which it needs."""
    current = MigrationContext.configure(connection).get_current_revision()
    head = HEAD
    return None if current == head else f"schema is at {current or 'nothing'}, needed is {head}"


HEAD = ScriptDirectory(str(scripts_folder())).get_current_head()
