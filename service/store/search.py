"""The search index: passages, and their words under the same id, written and deleted with their transcript.

The words come folded (`transcripts/folding.py`) and are all the databases know of the text, so SQLite's FTS5 and
PostgreSQL's tsvector give the same answers. Every passage also has its owner's mark among its words: a key that
owns little finds its own as quickly as a key that owns much.
"""

import hashlib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, count
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

from service.store.changes import Change, run
from service.store.rows import as_models
from service.tables import Passage, table_of
from service.transcripts import passages as found
from service.transcripts.query import Phrase

passages = table_of(Passage)
words = table("search_words", column("rowid"), column("id"), column("words"))

PASSAGE = (
    ("transcription_id", "text"),
    ("chunk", "bigint"),
    ("first_token", "bigint"),
    ("token_count", "bigint"),
    ("spills", "boolean"),
    ("start_ms", "bigint"),
    ("speaker", "text"),
)
PLACE, WORDS = ("place", "bigint"), ("words", "text")
_OF_PASSAGE = ", ".join(name for name, _ in PASSAGE)

# Ids rise with the places, whatever other processes take meanwhile.
NUMBERED = (
    "numbered AS MATERIALIZED (SELECT nextval(pg_get_serial_sequence('passages', 'id')) AS id, * FROM found)"
)
PUT_NUMBERED = f"INSERT INTO passages (id, {_OF_PASSAGE}) SELECT id, {_OF_PASSAGE} FROM numbered"  # noqa: S608  # names of ours
PUT_VECTORS = "INSERT INTO search_words (id, words) SELECT id, CAST(words AS tsvector) FROM {}"
SQLITE_PASSAGES = f"""
    INSERT INTO passages (id, {_OF_PASSAGE})
    SELECT (SELECT COALESCE(MAX(id), 0) FROM passages) + place, {_OF_PASSAGE} FROM found
"""  # noqa: S608  # names of ours
SQLITE_WORDS = """
    INSERT INTO search_words (rowid, words)
    SELECT (SELECT MAX(id) FROM passages) - (SELECT MAX(place) FROM said) + place, words FROM said
"""

ENDING = "':%d '"  # between a word of a vector and the next one
ENDINGS = [ENDING % place for place in range(1, 257)]

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


def indexing(dialect: str, parts: Sequence[Found]) -> Iterator[Change]:
    """Passages are indexed; what is to be found first comes last."""
    for start in range(0, len(parts), ROWS_AT_ONCE):
        some = parts[start : start + ROWS_AT_ONCE]
        rows = [_values(part) for part in some]
        words = [[_mark(part.owner), *part.passage.words] for part in some]
        if dialect == "sqlite":
            places = range(1, len(some) + 1)
            numbered = [(place, *row) for place, row in zip(places, rows, strict=True)]
            yield Change("found", (PLACE, *PASSAGE), numbered, SQLITE_PASSAGES)
            said = [(place, " ".join(each)) for place, each in zip(places, words, strict=True)]
            yield Change("said", (PLACE, WORDS), said, SQLITE_WORDS)
        else:
            indexed = [(*row, _vector(each)) for row, each in zip(rows, words, strict=True)]
            between = f"{NUMBERED}, put AS ({PUT_NUMBERED})"
            yield Change("found", (*PASSAGE, WORDS), indexed, PUT_VECTORS.format("numbered"), between)


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


async def put_vectors(connection: AsyncConnection, ids: Sequence[int], lists: Sequence[Sequence[str]]) -> None:
    """Write the words of passages that PostgreSQL has."""
    rows = [(row_id, _vector(each)) for row_id, each in zip(ids, lists, strict=True)]
    await run(connection, Change("said", (("id", "bigint"), WORDS), rows, PUT_VECTORS.format("said")))


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


def _values(part: Found) -> tuple[str | int | None, ...]:
    """In the order of PASSAGE."""
    of, it = part.transcription_id, part.passage
    return of, it.chunk, it.first_token, it.token_count, it.spills, it.start_ms, it.speaker


def _vector(words: Sequence[str]) -> str:
    """Words with their places, as PostgreSQL reads them."""
    endings = chain(ENDINGS, map(ENDING.__mod__, count(len(ENDINGS) + 1)))
    return "'" + "".join(chain.from_iterable(zip(words, endings, strict=False)))[:-1]


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


@cache
def _mark(owner: str) -> str:
    """A word that nobody can say: its first character is for private use and no query contains it."""
    return "\ue000" + hashlib.blake2s(owner.encode(), digest_size=8).hexdigest()


def _is_sqlite(connection: AsyncConnection) -> bool:
    return connection.dialect.name == "sqlite"
