"""Everything in one database, row by row into another one: from SQLite to PostgreSQL."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from sqlalchemy import LargeBinary, Table, func, insert, select, table, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import SQLModel

from service.store import search
from service.tables import Event, table_of

ROWS_AT_ONCE = 500
SERIALS = {"events": "seq", "attempts": "id", "timeline": "id", "passages": "id"}  # numbered by the database
BLOBS_AT_ONCE = 8  # pieces of audio may have a megabyte each
TABLES: Sequence[Table] = SQLModel.metadata.sorted_tables
NAMES = (*(each.name for each in TABLES), "search_words")


async def keep_others_out(target: AsyncConnection) -> None:
    """Nobody writes to the target's tables until the transaction ends; reading goes on."""
    await target.execute(text(f"LOCK TABLE {', '.join(NAMES)} IN EXCLUSIVE MODE"))


async def count_all(connection: AsyncConnection) -> dict[str, int]:
    """How many rows each table has."""
    return {name: await _count(connection, name) for name in NAMES}


async def copy_all(source: AsyncConnection, target: AsyncConnection) -> None:
    """Copy all rows, ids included; new rows then get ids beyond them."""
    for each in TABLES:
        async for rows in _batches(source, each):
            await target.execute(insert(each), rows)
        if serial := SERIALS.get(each.name):
            await _go_on_after(target, each, serial, await _last_given(source, each, serial))
    async for ids, words in search.all_words(source):
        await search.put_vectors(target, ids, words)


async def _count(connection: AsyncConnection, name: str) -> int:
    return int((await connection.execute(select(func.count()).select_from(table(name)))).scalar_one())


async def _batches(source: AsyncConnection, each: Table) -> AsyncIterator[list[dict[str, Any]]]:
    heavy = any(isinstance(column.type, LargeBinary) for column in each.columns)
    result = await source.stream(select(each))
    async for rows in result.partitions(BLOBS_AT_ONCE if heavy else ROWS_AT_ONCE):
        yield [dict(row._mapping) for row in rows]


async def _last_given(source: AsyncConnection, each: Table, serial: str) -> int:
    """The highest number ever given: SQLite remembers that of events although their last row may be gone."""
    queries = [select(func.max(each.c[serial]))]
    if each is table_of(Event):
        remembered = table("sqlite_sequence")
        queries.append(select(text("seq")).select_from(remembered).where(text("name = 'events'")))
    found = [(await source.execute(query)).scalar_one_or_none() for query in queries]
    return max(number or 0 for number in found)


async def _go_on_after(target: AsyncConnection, each: Table, serial: str, last: int) -> None:
    sequence = func.pg_get_serial_sequence(each.name, serial)
    await target.execute(select(func.setval(sequence, max(last, 1), last > 0)))
