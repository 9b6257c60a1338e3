"""Rows built without their model are what the model would have made; what is given to be stored is read back."""

import json
from typing import Any

import pytest
from sqlalchemy import select
from sqlmodel import SQLModel

from service import tables
from service.db import Database
from service.pipeline.keep import parts_of
from service.store import transcripts
from service.store.changes import insert_all, insertion, run_together
from service.store.rows import new, values_of
from service.tables import table_of
from service.transcripts.codec import pack
from tests.support.transcripts import document, said

MODELS = [
    model
    for name in tables.__all__
    if isinstance(model := getattr(tables, name), type) and issubclass(model, SQLModel) and model is not tables.Due
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_a_light_row_has_the_values_of_its_model(model: type[SQLModel]) -> None:
    required = {name: name for name, info in model.model_fields.items() if info.is_required()}
    assert values_of(new(model, **required)) == values_of(model(**required))


def test_what_is_given_counts_and_lists_are_nobody_elses() -> None:
    first, second = (
        new(tables.Transcription, id=name, filename="a", owner="b", model="c", created_at_ms=1) for name in "xy"
    )
    first.past_soniox_ids.append("z")
    assert (second.past_soniox_ids, first.id, second.attempt) == ([], "x", 1)
    assert new(tables.Removal, id="r", transcription_id="t", created_at_ms=1, unsettled=True).unsettled


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


async def stored(db: Database, model: type[SQLModel]) -> list[Any]:
    table = table_of(model)
    async with db.read() as connection:
        return list((await connection.execute(select(table).order_by(table.c.id))).all())


async def test_rows_that_go_as_one_parameter_are_read_back_as_they_were_given(db: Database) -> None:
    entries = [
        new(
            tables.TimelineEntry,
            transcription_id=f"t{place}",
            at_ms=2**40 + place,
            step="step",
            source="worker",
            duration_ms=None if place % 2 else 0,
            detail=detail,
        )
        for place, detail in enumerate(ODD)
    ]
    removal = new(tables.Removal, id="r1", transcription_id="t", created_at_ms=1, unsettled=True)
    await db.write(lambda connection: insert_all(connection, entries))
    await db.write(lambda connection: insert_all(connection, [removal]))
    found = await stored(db, tables.TimelineEntry)
    assert [row.detail for row in found] == ODD
    assert [row.at_ms for row in found] == [entry.at_ms for entry in entries]
    assert [row.duration_ms for row in found] == [entry.duration_ms for entry in entries]
    (kept,) = await stored(db, tables.Removal)
    assert (kept.unsettled, kept.due_at_ms, kept.fence) == (True, None, 0)


async def test_a_nul_which_no_database_holds_in_a_text_is_left_out(db: Database) -> None:
    entry = new(tables.TimelineEntry, transcription_id="t", at_ms=1, step="s", source="w", detail="a\0b\\u0000")
    await db.write(lambda connection: insert_all(connection, [entry]))
    assert (await stored(db, tables.TimelineEntry))[0].detail == "ab\\u0000"


async def test_a_nul_within_a_document_keeps_no_row_from_being_stored(db: Database) -> None:
    """PostgreSQL would refuse the whole statement for it."""
    head = new(
        tables.Transcript,
        transcription_id="t",
        envelope=b"\x00\xff",
        digest="d",
        token_count=1,
        summary={"speakers": {"a\0b": 1, "back\\slash": 2}},
        stored_at_ms=1,
    )
    await db.write(lambda connection: run_together(connection, insertion([head])))
    table = table_of(tables.Transcript)
    async with db.read() as connection:
        kept = (await connection.execute(select(table))).one()
    assert (kept.envelope, kept.digest) == (b"\x00\xff", "d")
    assert list(kept.summary["speakers"].values()) == [1, 2]


async def test_changes_of_the_same_table_are_all_made_in_their_order(db: Database) -> None:
    def entry(place: int) -> tables.TimelineEntry:
        return new(tables.TimelineEntry, transcription_id="t", at_ms=place, step="s", source="w")

    removal = new(tables.Removal, id="r", transcription_id="t", created_at_ms=1)
    changes = [*insertion([entry(1), entry(2)]), *insertion([removal]), *insertion([]), *insertion([entry(3)])]
    await db.write(lambda connection: run_together(connection, changes))
    assert [row.at_ms for row in await stored(db, tables.TimelineEntry)] == [1, 2, 3]
    assert [row.id for row in await stored(db, tables.Removal)] == ["r"]


async def test_many_chunks_take_several_statements_and_all_are_stored(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcripts, "ROWS_AT_ONCE", 2)
    packed = await pack(json.dumps(document(said(" ".join(f"w{n}" for n in range(5_000))))).encode())
    parts = parts_of("o", "t", packed, 1)
    await db.write(lambda c: run_together(c, transcripts.storing(c.dialect.name, [parts])))
    async with db.read() as connection:
        kept = await transcripts.read_chunks(connection, "t")
    assert len(packed.chunks) > 3
    assert kept == [chunk.data for chunk in packed.chunks]
