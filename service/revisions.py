"""Which revision of the schema this code needs, and which one a database has.

Told without Alembic, which would cost every serving process 7 MB to say one word; `migrate` has it do the work.
"""

from pathlib import Path

from sqlalchemy import Connection, inspect, text


def scripts_folder() -> Path:
    """The revisions: in the source tree beside this package, in an installed wheel inside it."""
    here = Path(__file__).parent
    return next(folder for folder in (here / "_migrations", here.parent / "migrations") if folder.is_dir())


def behind(connection: Connection) -> str | None:
    """None when the schema is the one this code needs; else which revision it has and which it needs."""
    current = _current(connection)
    return None if current == HEAD else f"schema is at {current or 'nothing'}, needed is {HEAD}"


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return found


HEAD = max(script.name.partition("_")[0] for script in scripts_folder().glob("versions/[0-9]*.py"))
