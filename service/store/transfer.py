"""Copying all rows from a SQLite database to PostgreSQL."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, LargeBinary, Table, func, insert, select, table, text
from sqlmodel import Session, SQLModel

from service.store import search
from service.tables import Event, table_of

ROWS_AT_ONCE = 500
SERIALS = {"events": "seq", "attempts": "id", "timeline": "id", "passages": "id"}  # numbered by the database
BLOBS_AT_ONCE = 8  # chunks of audio may have a megabyte each
TABLES: Sequence[Table] = SQLModel.metadata.sorted_tables
NAMES = (*(each.name for each in TABLES), "search_words")


def keep_others_out(target: Connection) -> None:
    """Block writes to the target's tables until the transaction ends. Reads are not blocked."""
    target.execute(text(f"LOCK TABLE {', '.join(NAMES)} IN EXCLUSIVE MODE"))


def count_all(connection: Connection) -> dict[str, int]:
    """Return the number of rows by table."""
    return {name: _count(connection, name) for name in NAMES}


def copy_all(source: Connection, target: Connection) -> None:
    """Copy all rows with their ids, and move the sequences past them."""
    for each in TABLES:
        for rows in _batches(source, each):
            target.execute(insert(each), rows)
        if serial := SERIALS.get(each.name):
            _go_on_after(target, each, serial, _last_given(source, each, serial))
    with Session(target) as session:
        for indexed in search.all_words(source):
            search.put_words(session, indexed)


def _count(connection: Connection, name: str) -> int:
    return int(connection.execute(select(func.count()).select_from(table(name))).scalar_one())


def _batches(source: Connection, each: Table) -> Iterator[list[dict[str, Any]]]:
    heavy = any(isinstance(column.type, LargeBinary) for column in each.columns)
    result = source.execution_options(stream_results=True).execute(select(each))
    for rows in result.partitions(BLOBS_AT_ONCE if heavy else ROWS_AT_ONCE):
        yield [dict(row._mapping) for row in rows]


def _last_given(source: Connection, each: Table, serial: str) -> int:
    """Return the highest number ever assigned. For events SQLite keeps it even if the last row was deleted."""
    queries = [select(func.max(each.c[serial]))]
    if each is table_of(Event):
        remembered = table("sqlite_sequence")
        queries.append(select(text("seq")).select_from(remembered).where(text("name = 'events'")))
    found = [source.execute(query).scalar_one_or_none() for query in queries]
    return max(number or 0 for number in found)


def _go_on_after(target: Connection, each: Table, serial: str, last: int) -> None:
    sequence = func.pg_get_serial_sequence(each.name, serial)
    target.execute(select(func.setval(sequence, max(last, 1), last > 0)))
