"""A witness inside the database: triggers that note every move a row makes, also those between two looks.

A rule may move a job twice, and what is overwritten at once no later SELECT can see. What must never happen
(a fence that goes down, a row of the inbox that is closed twice) is noted as well, under a name of its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import text
from sqlmodel import Session

from service.store.statements import is_sqlite

FENCED = ("transcriptions", "webhooks", "deliveries", "removals", "recoveries")
NOTE = "INSERT INTO witness (what, row_id, old, new, attempt) VALUES ({})"
BORN = "'born', NEW.id, '', NEW.stage, NEW.attempt"
MOVED = "'moved', NEW.id, OLD.stage, NEW.stage, NEW.attempt"
GONE = "'gone', OLD.id, OLD.stage, '', OLD.attempt"
CLOSED_TWICE = "'closed twice', NEW.id, COALESCE(OLD.outcome, ''), COALESCE(NEW.outcome, ''), 0"
SENT_BACK = "'fence sent back', NEW.id, CAST(OLD.fence AS TEXT), CAST(NEW.fence AS TEXT), 0"
HANDLED_AGAIN = "OLD.handled_at_ms IS NOT NULL AND NEW.handled_at_ms <> OLD.handled_at_ms"
WATCHED = [
    ("transcriptions", "INSERT", "1 = 1", BORN),
    ("transcriptions", "UPDATE", "OLD.stage <> NEW.stage OR OLD.attempt <> NEW.attempt", MOVED),
    ("transcriptions", "DELETE", "1 = 1", GONE),
    ("webhooks", "UPDATE", HANDLED_AGAIN, CLOSED_TWICE),
    *[(table, "UPDATE", "NEW.fence < OLD.fence", SENT_BACK) for table in FENCED],
]


@dataclass(frozen=True)
class Note:
    """One thing that happened to one row, in the order of `seq`."""

    seq: int
    what: str
    row_id: str
    old: str
    new: str
    attempt: int


def install(session: Session) -> None:
    """Watch from now on; the witness is in the same transaction as what it sees."""
    on_sqlite = is_sqlite(session)
    serial = "INTEGER PRIMARY KEY AUTOINCREMENT" if on_sqlite else "BIGSERIAL PRIMARY KEY"
    columns = "what TEXT NOT NULL, row_id TEXT NOT NULL, old TEXT NOT NULL, new TEXT NOT NULL, attempt INTEGER"
    session.execute(text(f"CREATE TABLE witness (seq {serial}, {columns})"))
    for statement in _sqlite_triggers() if on_sqlite else _postgres_triggers():
        session.execute(text(statement))


def notes_since(session: Session, seq: int) -> list[Note]:
    """What happened after the note numbered `seq`."""
    query = text("SELECT seq, what, row_id, old, new, attempt FROM witness WHERE seq > :seq ORDER BY seq")
    return [Note(*row) for row in session.execute(query, {"seq": seq}).all()]


def _sqlite_triggers() -> Iterator[str]:
    for number, (table, verb, condition, values) in enumerate(WATCHED):
        head = f"CREATE TRIGGER witness_{number} AFTER {verb} ON {table} FOR EACH ROW WHEN {condition}"
        yield f"{head} BEGIN {NOTE.format(values)}; END"


def _postgres_triggers() -> Iterator[str]:
    for number, (table, verb, condition, values) in enumerate(WATCHED):
        body = f"BEGIN {NOTE.format(values)}; RETURN NULL; END"
        yield f"CREATE FUNCTION witness_{number}() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$"
        head = f"CREATE TRIGGER witness_{number} AFTER {verb} ON {table} FOR EACH ROW WHEN ({condition})"
        yield f"{head} EXECUTE FUNCTION witness_{number}()"
