"""Rows: what is given to be stored is read back, whatever the table, the text and the database."""

import json
from functools import partial
from typing import Any, TypeVar

import pytest
from sqlmodel import Session, SQLModel, select

from service import tables
from service.db.database import Database
from service.pipeline.results import transcript_rows
from service.store import transcripts
from service.store.statements import insert_all, values_of
from service.tables import TimelineEntry, Transcript, table_of
from service.transcripts.codec import pack
from tests.support.transcripts import document, said

M = TypeVar("M", bound=SQLModel)

MODELS = [
    model
    for name in tables.__all__
    if isinstance(model := getattr(tables, name), type)
    and issubclass(model, SQLModel)
    and model is not tables.QueueColumns
]


ODD = [
    "",
    "plain",
    'a "quoted" word',
    "back\\slash \\u0000",
    "ä ✓ 𝄞",
    "line\nand\ttab",
    "'; --",
    "{}",
    "null",
    None,
]


async def stored(db: Database, model: type[M]) -> list[M]:
    in_order = select(model).order_by(*table_of(model).primary_key.columns)
    return await db.read(lambda session: list(session.exec(in_order)))


def sparse(model: type[M]) -> M:
    """A row with nothing but what it must have."""
    samples: dict[Any, Any] = {str: "a", int: 1, bytes: b"\x00\xff", bool: True, dict[str, Any]: {"a": [1]}}
    required = {name: info.annotation for name, info in model.model_fields.items() if info.is_required()}
    return model(**{name: samples[kind] for name, kind in required.items()})


async def test_a_row_of_any_table_is_read_back_as_it_was_given(db: Database) -> None:
    for model in MODELS:
        row = sparse(model)
        await db.write(partial(insert_all, rows=[row]))
        (found,) = await stored(db, model)
        given = values_of(row)
        assert {name: getattr(found, name) for name in given} == given


async def test_odd_texts_are_read_back_as_they_were_given(db: Database) -> None:
    entries = [
        TimelineEntry(
            transcription_id=f"t{place}",
            at_ms=2**40 + place,
            step="step",
            source="worker",
            duration_ms=None if place % 2 else 0,
            detail=detail,
        )
        for place, detail in enumerate(ODD)
    ]
    await db.write(partial(insert_all, rows=entries))
    found = await stored(db, TimelineEntry)
    assert [row.detail for row in found] == ODD
    assert [row.at_ms for row in found] == [entry.at_ms for entry in entries]
    assert [row.duration_ms for row in found] == [entry.duration_ms for entry in entries]


async def test_rows_are_numbered_in_the_order_in_which_they_go_in(db: Database) -> None:
    rows = [TimelineEntry(transcription_id="t", at_ms=place, step="s", source="w") for place in range(300)]

    def write(session: Session) -> None:
        insert_all(session, rows[:200])
        insert_all(session, [])
        insert_all(session, rows[200:])

    await db.write(write)
    found = await stored(db, TimelineEntry)
    assert [row.at_ms for row in found] == list(range(300))
    assert len({row.id for row in found}) == 300


async def test_a_nul_which_no_database_holds_in_a_text_is_left_out(db: Database) -> None:
    entry = TimelineEntry(transcription_id="t", at_ms=1, step="s", source="w", detail="a\0b\\u0000")
    await db.write(partial(insert_all, rows=[entry]))
    await db.write(partial(insert_all, rows=[entry, entry]))
    assert [row.detail for row in await stored(db, TimelineEntry)] == ["ab\\u0000"] * 3


async def test_a_nul_within_a_document_keeps_no_row_from_being_stored(db: Database) -> None:
    """PostgreSQL would refuse the whole statement for it."""
    head = Transcript(
        transcription_id="t",
        envelope=b"\x00\xff",
        digest="d",
        token_count=1,
        summary={"speakers": {"a\0b": 1, "back\\slash": 2}},
        stored_at_ms=1,
    )
    await db.write(partial(insert_all, rows=[head]))
    (kept,) = await stored(db, Transcript)
    assert (kept.envelope, kept.digest) == (b"\x00\xff", "d")
    assert list(kept.summary["speakers"].values()) == [1, 2]


async def test_many_chunks_take_several_statements_and_all_are_stored(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcripts, "ROWS_AT_ONCE", 2)
    packed = await pack(json.dumps(document(said(" ".join(f"w{n}" for n in range(5_000))))).encode())
    await db.write(partial(transcripts.store, parts=transcript_rows("o", "t", packed, 1)))
    kept = await db.read(lambda session: transcripts.read_chunks(session, "t"))
    assert len(packed.chunks) > 3
    assert kept == [chunk.data for chunk in packed.chunks]
