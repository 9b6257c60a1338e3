"""Expand, then contract: what a revision may do, by its phase. See docs/decisions/two-releases.md."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import text

from service.db.database import open_database
from service.db.notify import Notifier
from service.db.schema import HEAD, check_schema, configuration, current_revision, upgrade
from tests.support.postgres import aside
from tests.support.revisions import SCRIPTS, phase_of, revision_of

TAKES_AWAY = re.compile(r"drop_|rename_table|alter_column")
TIGHTENS = {"create_check_constraint", "create_unique_constraint", "create_foreign_key", "create_primary_key"}
STATEMENT = re.compile(r"\b(DROP|RENAME|DELETE|TRUNCATE|SET NOT NULL|ALTER COLUMN)\b", re.IGNORECASE)


def faults(source: str) -> list[str]:
    """What a revision does, outside `downgrade`, that a release which runs meanwhile would not survive."""
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    calls = [call for each in functions if each.name != "downgrade" for call in calls_in(each)]
    new = {name for call in calls if named(call) == "create_table" and (name := first_word(call))}
    return [f"line {call.lineno}: {fault}" for call in calls if (fault := fault_of(call, new))]


def fault_of(call: ast.Call, new_tables: set[str]) -> str | None:
    name, given = named(call), {word.arg: word.value for word in call.keywords}
    if name == "drop_index":  # a plain one makes queries slow or quick; a unique one is what an upsert names
        return name if (first_word(call) or "").startswith("uq_") else None
    if TAKES_AWAY.match(name) or name in TIGHTENS:
        return name
    if name == "create_index" and is_true(given.get("unique")) and not new_tables:
        return "a unique index on rows that are there"
    if name == "add_column" and any(must_be_given(column) for column in call.args):
        return "a column that old code does not fill"
    if name == "execute" and STATEMENT.search(first_word(call) or ""):
        return "execute"
    return None


def must_be_given(column: ast.expr) -> bool:
    words = {word.arg: word.value for word in column.keywords} if isinstance(column, ast.Call) else {}
    nullable = words.get("nullable")
    return isinstance(nullable, ast.Constant) and nullable.value is False and "server_default" not in words


def calls_in(function: ast.FunctionDef) -> Iterator[ast.Call]:
    return (node for node in ast.walk(function) if isinstance(node, ast.Call))


def named(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""


def first_word(call: ast.Call) -> str | None:
    first = call.args[0] if call.args else None
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None


def is_true(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Constant) and value.value is True


@pytest.mark.parametrize("script", [s for s in SCRIPTS if phase_of(s) == "pre"], ids=revision_of)
def test_a_pre_deploy_revision_only_adds(script: Path) -> None:
    assert faults(script.read_text("utf-8")) == []


def test_the_revision_that_takes_away_is_post_deploy_and_all_after_it_name_the_code_they_serve() -> None:
    floor = 0
    for script in SCRIPTS:
        number, _, named_floor = revision_of(script).partition("-")
        own = int(named_floor or 0)
        assert floor <= own < int(number), script.name
        assert phase_of(script) == "pre" or own > floor or floor == 0 != own, script.name
        floor = own


@pytest.mark.parametrize(
    "step",
    [
        'op.drop_column("events", "body")',
        'op.rename_table("events", "log")',
        'op.alter_column("events", "body", nullable=False)',
        'op.add_column("events", sa.Column("kind", sa.String(), nullable=False))',
        'op.create_index("uq", "events", ["type"], unique=True)',
        'op.create_check_constraint("ck", "events", "seq > 0")',
        'op.execute("ALTER TABLE events ALTER COLUMN body SET NOT NULL")',
        'with op.batch_alter_table("events") as batch:\n        batch.drop_index("uq_events_id")',
    ],
)
def test_what_a_running_release_would_not_survive_is_found(step: str) -> None:
    assert faults(f"def upgrade():\n    {step}\n") != []


@pytest.mark.parametrize(
    "step",
    [
        'op.add_column("events", sa.Column("kind", sa.String(), nullable=True))',
        'op.add_column("events", sa.Column("kind", sa.String(), nullable=False, server_default="x"))',
        'op.create_index("ix", "events", ["type"])',
        'op.drop_index("ix_events_order", table_name="events")',
        'op.execute("CREATE TABLE x (id BIGINT PRIMARY KEY)")',
    ],
)
def test_what_only_adds_is_allowed(step: str) -> None:
    assert faults(f"def upgrade():\n    {step}\ndef downgrade():\n    op.drop_table('x')\n") == []


async def schema_called(database_url: str, revision: str) -> str | None:
    """What this code says of a schema that bears this revision; `migrate` must leave it as it is."""
    called = text("UPDATE alembic_version SET version_num = :new")
    async with open_database(database_url, Notifier()) as database:
        await database.write(lambda session: session.execute(called, {"new": revision}))
        aside(upgrade, database_url)
        assert await database.read(lambda session: current_revision(session.connection())) == revision
        found = await database.read(lambda session: check_schema(session.connection()))
    return found.reason if found else None


async def test_a_newer_schema_serves_this_release_unless_it_says_otherwise(database_url: str) -> None:
    assert await schema_called(database_url, "9998") is None
    assert await schema_called(database_url, f"9998-{HEAD.partition('-')[0]}") is None
    too_new = await schema_called(database_url, "9999-9998")
    assert too_new == f"schema is at 9999-9998, too new for this release ({HEAD})"


async def test_an_earlier_goal_than_what_is_there_changes_nothing(database_url: str) -> None:
    aside(upgrade, database_url, "0001")
    aside(command.check, configuration(database_url))
