"""Which revision of the schema this code needs, and which one a database has.

Told without Alembic, which would cost every serving process 7 MB to say one word; `migrate` has it do the work.

A revision comes before the new processes start (it only adds) or after the last old one has ended (it takes away
what nobody uses any more). So the schema may be newer than the code, while two releases run side by side. A
revision that takes away says in its id which code it still serves: `0007-0005` is number 7, for code that knows
number 5. `docs/decisions/two-releases.md` has the reasons.
"""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, inspect, text
from typing_extensions import override

HEAD = "0006"  # the newest revision
NEEDED = "0006"  # the newest that comes before the new processes start


@dataclass(frozen=True)
class Misfit:
    """Why this code cannot work on a database's schema, and what to do."""

    reason: str
    cure: str

    @override
    def __str__(self) -> str:
        return f"{self.reason}; {self.cure}"


def scripts_folder() -> Path:
    """The revisions: in the source tree beside this package, in an installed wheel inside it."""
    here = Path(__file__).parent
    return next(folder for folder in (here / "_migrations", here.parent / "migrations") if folder.is_dir())


def misfit(connection: Connection) -> Misfit | None:
    """None when this code can work on the schema that is there."""
    current = current_revision(connection)
    if current is None or _number(current) < _number(NEEDED):
        return Misfit(f"schema is at {current or 'nothing'}, needed is {NEEDED}", "run `soniox-relay migrate`")
    if _number(HEAD) < _oldest_served(current):
        return Misfit(f"schema is at {current}, too new for this release ({HEAD})", "run a newer release")
    return None


def is_ahead(connection: Connection) -> bool:
    """True when a newer release has migrated this database."""
    current = current_revision(connection)
    return current is not None and _number(current) > _number(HEAD)


def current_revision(connection: Connection) -> str | None:
    """The revision that the database has; None when it has no schema."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return found


def _number(revision: str) -> int:
    return int(revision.partition("-")[0])


def _oldest_served(revision: str) -> int:
    return int(revision.partition("-")[2] or 0)
