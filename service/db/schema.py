"""The schema: the revision this code needs, the revision a database has, and the upgrade."""

from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, inspect, text
from typing_extensions import override

from service.db.engines import engine_url

HEAD = "0002"  # the newest revision
REQUIRED = "0002"  # the newest revision that must be applied before new processes start


@dataclass(frozen=True)
class SchemaMismatch:
    """Why this code cannot work with a database's schema, and how to fix it."""

    reason: str
    cure: str

    @override
    def __str__(self) -> str:
        return f"{self.reason}; {self.cure}"


def scripts_folder() -> Path:
    """Return the folder of the revisions: beside the package in the source tree, inside it in a wheel."""
    here = Path(__file__).parents[1]
    return next(folder for folder in (here / "_migrations", here.parent / "migrations") if folder.is_dir())


def check_schema(connection: Connection) -> SchemaMismatch | None:
    """Return None when this code can work with the database's schema."""
    current = current_revision(connection)
    if current is None or _number(current) < _number(REQUIRED):
        return SchemaMismatch(
            f"schema is at {current or 'nothing'}, needed is {REQUIRED}", "run `soniox-relay migrate`"
        )
    if _number(HEAD) < _oldest_compatible(current):
        return SchemaMismatch(f"schema is at {current}, too new for this release ({HEAD})", "run a newer release")
    return None


def is_newer(connection: Connection) -> bool:
    """Return True when a newer release has migrated this database."""
    current = current_revision(connection)
    return current is not None and _number(current) > _number(HEAD)


def current_revision(connection: Connection) -> str | None:
    """Return the database's revision, or None when it has no schema."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return found


def _number(revision: str) -> int:
    return int(revision.partition("-")[0])


def _oldest_compatible(revision: str) -> int:
    return int(revision.partition("-")[2] or 0)


def configuration(database_url: str) -> Config:
    """Return Alembic's configuration, without a file."""
    config = Config()
    config.set_main_option("script_location", str(scripts_folder()))
    config.set_main_option("sqlalchemy.url", engine_url(database_url).replace("%", "%%"))
    return config


def upgrade(database_url: str, revision: str = HEAD) -> None:
    """Run the missing revisions up to `revision`. Starts a new event loop.

    A schema of a newer release is left unchanged.
    """
    command.upgrade(configuration(database_url), revision)
