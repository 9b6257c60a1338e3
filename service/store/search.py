"""The search index: passages, and their words under the same id, written and deleted with their transcript.

The index holds only folded words (`transcripts/search_terms.py`), so SQLite's FTS5 and PostgreSQL's tsvector
give the same results. The words of a passage include a mark of its owner, so a search is as fast for an owner
of few passages as for an owner of many.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, count

from sqlalchemy import (
    ColumnElement,
    Connection,
    ScalarSelect,
    Text,
    cast,
    column,
    delete,
    func,
    literal,
    table,
    text,
)
from sqlalchemy.dialects.postgresql import TSQUERY
from sqlmodel import Session, select

from service.store.statements import insert_all, is_sqlite
from service.tables import Passage, table_of
from service.transcripts import passages as found
from service.transcripts.search_terms import Phrase

passages = table_of(Passage)
words = table("search_words", column("rowid"), column("id"), column("words"))

PUT_WORDS = {
    True: text("INSERT INTO search_words (rowid, words) VALUES (:id, :words)"),
    False: text("INSERT INTO search_words (id, words) VALUES (:id, CAST(:words AS tsvector))"),
}
PASSAGE_IDS = {
    True: text("SELECT COALESCE(MAX(id), 0) + :number FROM passages"),
    False: text("SELECT nextval(pg_get_serial_sequence('passages', 'id')) FROM generate_series(1, :number)"),
}

ENDING = "':%d '"  # follows a word of a tsvector
ENDINGS = [ENDING % place for place in range(1, 257)]

ROWS_AT_ONCE = 250  # preparing more rows for one statement would stall the event loop
MERGE_PAGES = 200  # index pages that one `scrub` may rewrite


@dataclass(frozen=True)
class Wanted:
    """The conditions of a search. `owner` None means all owners; other None and empty values match all."""

    phrases: Sequence[Phrase]
    limit: int
    owner: str | None
    speakers: tuple[str, ...] = ()
    transcription_id: str | None = None
    before_id: int | None = None  # continue after the passage with this id


def index(session: Session, transcription_id: str, owner: str, parts: Sequence[found.PassageDraft]) -> None:
    """Index the passages of a transcript. Ids decrease along it, so that its beginning is found first."""
    ids = _new_ids(session, len(parts))
    for start in range(0, len(parts), ROWS_AT_ONCE):
        some = list(zip(ids[start : start + ROWS_AT_ONCE], parts[start : start + ROWS_AT_ONCE], strict=True))
        insert_all(session, [_row(row_id, transcription_id, part) for row_id, part in some])
        put_words(session, [(row_id, [_mark(owner), *part.words]) for row_id, part in some])


def put_words(session: Session, indexed: Sequence[tuple[int, Sequence[str]]]) -> None:
    """Insert the words of passages, given as (id, words)."""
    sqlite = is_sqlite(session)
    rows = [{"id": row_id, "words": " ".join(each) if sqlite else _vector(each)} for row_id, each in indexed]
    if rows:
        session.execute(PUT_WORDS[sqlite], rows)


def find(session: Session, wanted: Wanted) -> list[Passage]:
    """Return the passages that contain all phrases: newest transcript first, each from its beginning."""
    key = words.c.rowid if is_sqlite(session) else words.c.id
    query = select(Passage).join_from(words, passages, passages.c.id == key).where(_match(session, wanted))
    if wanted.speakers:
        query = query.where(passages.c.speaker.in_(wanted.speakers))
    if wanted.transcription_id is not None:
        query = query.where(passages.c.transcription_id == wanted.transcription_id)
        query = query.where(key.between(*_edges(wanted.transcription_id)))  # lets FTS5 seek to the range
    if wanted.before_id is not None:
        query = query.where(key < wanted.before_id)
    return list(session.exec(query.order_by(key.desc()).limit(wanted.limit)))


def delete_of(session: Session, transcription_id: str) -> None:
    """Delete a transcript from the index."""
    key = words.c.rowid if is_sqlite(session) else words.c.id
    theirs = select(passages.c.id).where(passages.c.transcription_id == transcription_id)
    session.exec(delete(words).where(key.in_(theirs)))
    session.exec(delete(passages).where(passages.c.transcription_id == transcription_id))


def all_words(connection: Connection) -> Iterator[list[tuple[int, list[str]]]]:
    """Yield the contents of SQLite's index in batches: (passage id, words)."""
    result = connection.execute(select(words.c.rowid, words.c.words).order_by(words.c.rowid))
    for rows in result.partitions(ROWS_AT_ONCE):
        yield [(row.rowid, row.words.split(" ")) for row in rows]


def scrub(session: Session, *, first: bool) -> bool:
    """Rewrite a part of FTS5's index without the words of deleted rows. Return True when nothing is left to do.

    FTS5 only marks a row as deleted and keeps its words until it merges the segments of its index. PostgreSQL
    needs no scrub: its VACUUM removes them.
    """
    if not is_sqlite(session):
        return True
    changes = text("SELECT total_changes()")
    before = session.execute(changes).scalar_one()
    merge = text("INSERT INTO search_words (search_words, rank) VALUES ('merge', :pages)")
    session.execute(merge, {"pages": -MERGE_PAGES if first else MERGE_PAGES})
    return bool(session.execute(changes).scalar_one() - before < 2)  # how FTS5 signals a finished merge


def _new_ids(session: Session, number: int) -> list[int]:
    """Return `number` new ids, the highest first."""
    if not number:
        return []
    found = session.scalars(PASSAGE_IDS[is_sqlite(session)], {"number": number}).all()
    return [found[0] - place for place in range(number)] if is_sqlite(session) else sorted(found, reverse=True)


def _row(row_id: int, transcription_id: str, part: found.PassageDraft) -> Passage:
    return Passage(
        id=row_id,
        transcription_id=transcription_id,
        chunk=part.chunk,
        first_token=part.first_token,
        token_count=part.token_count,
        spills=part.spills,
        start_ms=part.start_ms,
        speaker=part.speaker,
    )


def _vector(words: Sequence[str]) -> str:
    """Format words with their positions as PostgreSQL's tsvector input."""
    endings = chain(ENDINGS, map(ENDING.__mod__, count(len(ENDINGS) + 1)))
    return "'" + "".join(chain.from_iterable(zip(words, endings, strict=False)))[:-1]


def _match(session: Session, wanted: Wanted) -> ColumnElement[bool]:
    """Return the condition on the words. Folded words contain no operator of either query language."""
    phrases = list(wanted.phrases)
    if wanted.owner is not None:
        phrases.append(Phrase((_mark(wanted.owner),)))
    if is_sqlite(session):
        sought = " AND ".join(f'"{" ".join(each.words)}"{" *" * each.open_end}' for each in phrases)
        return words.c.words.op("MATCH", is_comparison=True)(sought)
    if all(len(each.words) == 1 for each in phrases):
        return _contain(phrases, " & ")
    # PostgreSQL estimates a phrase to be as frequent as its words in any order, and would scan the whole table
    # instead of the index. The second condition on the same words lowers the estimate.
    return _contain(phrases, " <-> ") & _contain(phrases, " & ")


def _contain(phrases: Sequence[Phrase], between: str) -> ColumnElement[bool]:
    """Return PostgreSQL's condition, with the operator `between` the words of a phrase."""
    sought = (between.join(f"'{word}'" for word in each.words) + ":*" * each.open_end for each in phrases)
    query = literal(" & ".join(f"({each})" for each in sought), Text)
    return words.c.words.op("@@", is_comparison=True)(cast(query, TSQUERY))


def _edges(transcription_id: str) -> tuple[ScalarSelect[int], ScalarSelect[int]]:
    """Return the lowest and the highest passage id of a transcript, as subqueries."""
    theirs = passages.alias()
    one = theirs.c.transcription_id == transcription_id
    lowest, highest = select(func.min(theirs.c.id)), select(func.max(theirs.c.id))
    return lowest.where(one).scalar_subquery(), highest.where(one).scalar_subquery()


@cache
def _mark(owner: str) -> str:
    """Return the word that marks an owner's passages. No query contains its private-use first character."""
    return "\ue000" + hashlib.blake2s(owner.encode(), digest_size=8).hexdigest()
