"""The search index: passages, and their words under the same id, written and deleted with their transcript.

The words come folded (`transcripts/folding.py`) and are all the databases know of the text, so SQLite's FTS5 and
PostgreSQL's tsvector give the same answers. Every passage also has its owner's mark among its words: a key that
owns little finds its own as quickly as a key that owns much.
"""

import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    Text,
    cast,
    column,
    delete,
    func,
    literal,
    select,
    table,
    text,
)
from sqlalchemy.dialects.postgresql import TSQUERY
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.rows import as_json, as_models, given, insert_values
from service.tables import Passage, table_of
from service.transcripts import passages as found
from service.transcripts.query import Phrase

passages = table_of(Passage)
words = table("search_words", column("rowid"), column("id"), column("words"))

_LAST = select(func.coalesce(func.max(passages.c.id), 0))
_TAKEN = text("SELECT nextval(pg_get_serial_sequence('passages', 'id')) FROM generate_series(1, :count)")
_GIVEN_WORDS = given("sqlite", {"id": "bigint", "words": "text"})
_SQLITE_WORDS = text(f"INSERT INTO search_words (rowid, words) {_GIVEN_WORDS}")  # names of ours
_POSTGRESQL_WORDS = text(
    "INSERT INTO search_words (id, words) SELECT row_id, CAST(vector AS tsvector)"
    " FROM unnest(CAST(:ids AS bigint[]), CAST(:vectors AS text[])) AS row (row_id, vector)"
)

ROWS_AT_ONCE = 250  # preparing more rows for one statement would stall the event loop
MERGE_PAGES = 200  # how much of the index one write of `scrub` may work on


@dataclass(frozen=True)
class Wanted:
    """What a search asks for; `owner` None means everybody's, empty tuples and None anything."""

    phrases: Sequence[Phrase]
    limit: int
    owner: str | None
    speakers: tuple[str, ...] = ()
    transcription_id: str | None = None
    before_id: int | None = None  # go on after the passage with this id


class Found(NamedTuple):
    """A passage of a transcript, and whose that is."""

    transcription_id: str
    owner: str
    passage: found.Passage


async def put(connection: AsyncConnection, parts: Sequence[Found]) -> None:
    """Index the passages of some transcripts."""
    ids = await _new_ids(connection, len(parts)) if parts else []
    for start in range(0, len(parts), ROWS_AT_ONCE):
        some, theirs = parts[start : start + ROWS_AT_ONCE], ids[start : start + ROWS_AT_ONCE]
        rows = [_row(part, row_id) for row_id, part in zip(theirs, some, strict=True)]
        await insert_values(connection, passages, rows)
        await put_words(connection, theirs, [[_mark(part.owner), *part.passage.words] for part in some])


async def find(connection: AsyncConnection, wanted: Wanted) -> list[Passage]:
    """The passages that contain all phrases: newest transcript first, in each from its beginning on."""
    key = words.c.rowid if _is_sqlite(connection) else words.c.id
    query = select(passages).join_from(words, passages, passages.c.id == key).where(_match(connection, wanted))
    if wanted.speakers:
        query = query.where(passages.c.speaker.in_(wanted.speakers))
    if wanted.transcription_id is not None:
        query = query.where(passages.c.transcription_id == wanted.transcription_id)
        query = query.where(key.between(*_edges(wanted.transcription_id)))  # FTS5 can go straight there
    if wanted.before_id is not None:
        query = query.where(key < wanted.before_id)
    return as_models(Passage, await connection.execute(query.order_by(key.desc()).limit(wanted.limit)))


async def delete_of(connection: AsyncConnection, transcription_id: str) -> None:
    """Take one transcript out of the index."""
    key = words.c.rowid if _is_sqlite(connection) else words.c.id
    theirs = select(passages.c.id).where(passages.c.transcription_id == transcription_id)
    await connection.execute(delete(words).where(key.in_(theirs)))
    await connection.execute(delete(passages).where(passages.c.transcription_id == transcription_id))


async def put_words(connection: AsyncConnection, ids: Sequence[int], lists: Sequence[Sequence[str]]) -> None:
    """Write the words of passages that are there, or are written in the same transaction."""
    if _is_sqlite(connection):
        rows = [(row_id, " ".join(each)) for row_id, each in zip(ids, lists, strict=True)]
        await connection.execute(_SQLITE_WORDS, {"rows": as_json(rows)})
        return
    vectors = [" ".join(f"'{word}':{place}" for place, word in enumerate(each, 1)) for each in lists]
    await connection.execute(_POSTGRESQL_WORDS, {"ids": list(ids), "vectors": vectors})


async def all_words(connection: AsyncConnection) -> AsyncIterator[tuple[list[int], list[list[str]]]]:
    """What SQLite's index was given: the ids of passages and the words of each, in batches."""
    result = await connection.stream(select(words.c.rowid, words.c.words).order_by(words.c.rowid))
    async for rows in result.partitions(ROWS_AT_ONCE):
        yield [row.rowid for row in rows], [row.words.split(" ") for row in rows]


async def scrub(connection: AsyncConnection, *, first: bool) -> bool:
    """Do a part of rewriting FTS5's index without the words of deleted rows; True when nothing is left to do.

    FTS5 only notes that a row is gone and keeps its words until it happens to merge the parts of its index.
    PostgreSQL's VACUUM does this by itself.
    """
    if not _is_sqlite(connection):
        return True
    changes = text("SELECT total_changes()")
    before = (await connection.execute(changes)).scalar_one()
    merge = text("INSERT INTO search_words (search_words, rank) VALUES ('merge', :pages)")
    await connection.execute(merge, {"pages": -MERGE_PAGES if first else MERGE_PAGES})
    return bool((await connection.execute(changes)).scalar_one() - before < 2)  # FTS5's sign for a finished merge


async def _new_ids(connection: AsyncConnection, count: int) -> list[int]:
    """The next ids, falling, so that the highest goes to the first passage."""
    if _is_sqlite(connection):
        last = (await connection.execute(_LAST)).scalar_one()
        return list(range(last + count, last, -1))
    return sorted((await connection.execute(_TAKEN, {"count": count})).scalars(), reverse=True)


def _row(part: Found, row_id: int) -> dict[str, object]:
    passage = part.passage
    return {
        "id": row_id,
        "transcription_id": part.transcription_id,
        "chunk": passage.chunk,
        "first_token": passage.first_token,
        "token_count": passage.token_count,
        "spills": passage.spills,
        "start_ms": passage.start_ms,
        "speaker": passage.speaker,
    }


def _match(connection: AsyncConnection, wanted: Wanted) -> ColumnElement[bool]:
    """The condition on the words. Folded words hold no sign that could mean something in either language."""
    phrases = list(wanted.phrases)
    if wanted.owner is not None:
        phrases.append(Phrase((_mark(wanted.owner),)))
    if _is_sqlite(connection):
        sought = " AND ".join(f'"{" ".join(each.words)}"{" *" * each.open_end}' for each in phrases)
        return words.c.words.op("MATCH", is_comparison=True)(sought)
    if all(len(each.words) == 1 for each in phrases):
        return _contain(phrases, " & ")
    # PostgreSQL takes a phrase to be as frequent as its words in any order, and would then look through the whole
    # table for it instead of the index. Asking for the words as well tells it that a phrase is rarer.
    return _contain(phrases, " <-> ") & _contain(phrases, " & ")


def _contain(phrases: Sequence[Phrase], between: str) -> ColumnElement[bool]:
    """PostgreSQL's condition, with this operator between the words of a phrase."""
    sought = (between.join(f"'{word}'" for word in each.words) + ":*" * each.open_end for each in phrases)
    query = literal(" & ".join(f"({each})" for each in sought), Text)
    return words.c.words.op("@@", is_comparison=True)(cast(query, TSQUERY))


def _edges(transcription_id: str) -> tuple[ScalarSelect[int], ScalarSelect[int]]:
    """The lowest and the highest id of one transcript's passages."""
    theirs = passages.alias()
    one = theirs.c.transcription_id == transcription_id
    lowest, highest = select(func.min(theirs.c.id)), select(func.max(theirs.c.id))
    return lowest.where(one).scalar_subquery(), highest.where(one).scalar_subquery()


def _mark(owner: str) -> str:
    """A word that nobody can say: its first character is for private use and no query contains it."""
    return "\ue000" + hashlib.blake2s(owner.encode(), digest_size=8).hexdigest()


def _is_sqlite(connection: AsyncConnection) -> bool:
    return connection.dialect.name == "sqlite"
