"""The life of a transcription: every move that is allowed is made, every other changes nothing."""

import itertools
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.db import Database
from service.lifecycle import MOVES, Stage, backoff_ms, soniox_status, sources_of
from service.store import claims, endings, room, transcriptions
from service.store.changes import insert_all
from service.store.claims import Claimant
from service.store.endings import Ending
from service.store.room import Quotas
from service.store.rows import as_model
from service.store.transcriptions import Seen
from service.tables import Transcription, table_of

NOW_MS = 1_732_060_800_000
PAIRS = list(itertools.product(Stage, Stage))
jobs = table_of(Transcription)

ALLOWED = {
    ("accepted", "submitting"),
    ("accepted", "submitted"),
    ("submitting", "submitted"),
    ("submitting", "accepted"),
    ("accepted", "completed"),
    ("submitting", "completed"),
    ("submitted", "completed"),
    ("accepted", "failed"),
    ("submitting", "failed"),
    ("submitted", "failed"),
    ("failed", "accepted"),
}

Move = Callable[[AsyncConnection, Transcription], Awaitable[Any]]


async def begin(connection: AsyncConnection, _job: Transcription) -> bool:
    """Move b, as the submit lane makes it."""
    claimant = Claimant("w", NOW_MS, 1000)
    claimed = await room.claim_submissions(connection, Quotas(9, 9, 9), claimant, 5)
    return any(row.stage == Stage.SUBMITTING and not row.unsettled for row in claimed)


async def submitted(connection: AsyncConnection, job: Transcription) -> bool:
    return await transcriptions.mark_submitted(connection, job, "new-id", now_ms=NOW_MS, check_at_ms=NOW_MS)


async def waiting(connection: AsyncConnection, job: Transcription) -> bool:
    return await transcriptions.mark_waiting(connection, job, due_at_ms=NOW_MS, error="later", spend_try=True)


async def completed(connection: AsyncConnection, job: Transcription) -> bool:
    return await finished(connection, Ending(job.id, job.attempt, Stage.COMPLETED, NOW_MS, "webhook"))


async def failed(connection: AsyncConnection, job: Transcription) -> bool:
    ending = Ending(job.id, job.attempt, Stage.FAILED, NOW_MS, "webhook", error_type="x")
    return await finished(connection, ending)


async def finished(connection: AsyncConnection, ending: Ending) -> bool:
    return await endings.mark_finished(connection, [ending]) != [None]


async def again(connection: AsyncConnection, job: Transcription) -> bool:
    return await transcriptions.mark_for_another_attempt(connection, job, NOW_MS)


async def unsettled(connection: AsyncConnection, job: Transcription) -> bool:
    return await transcriptions.mark_unsettled(connection, job, due_at_ms=NOW_MS, error="unknown")


async def uploaded(connection: AsyncConnection, job: Transcription) -> bool:
    return await transcriptions.mark_uploaded(connection, job, "new-file")


SETTERS: list[tuple[Move, Stage, set[Stage]]] = [
    (begin, Stage.SUBMITTING, {Stage.ACCEPTED}),
    (submitted, Stage.SUBMITTED, {Stage.ACCEPTED, Stage.SUBMITTING}),
    (waiting, Stage.ACCEPTED, {Stage.SUBMITTING}),
    (completed, Stage.COMPLETED, {Stage.ACCEPTED, Stage.SUBMITTING, Stage.SUBMITTED}),
    (failed, Stage.FAILED, {Stage.ACCEPTED, Stage.SUBMITTING, Stage.SUBMITTED}),
    (again, Stage.ACCEPTED, {Stage.FAILED}),
    (unsettled, Stage.SUBMITTING, {Stage.SUBMITTING}),
    (uploaded, Stage.SUBMITTING, {Stage.SUBMITTING}),
]


async def row_in(db: Database, stage: Stage) -> Transcription:
    """A transcription that got to `stage`, whatever its lease: the stage alone must decide."""
    is_open = stage in {Stage.ACCEPTED, Stage.SUBMITTING}
    job = Transcription(
        id="job",
        owner="o",
        stage=stage,
        created_at_ms=NOW_MS,
        due_at_ms=NOW_MS if is_open else None,
        lease_until_ms=NOW_MS,
        fence=3,
        filename="a.wav",
        model="m",
        soniox_id=None if is_open else "first-id",
    )
    await db.write(lambda connection: insert_all(connection, [job]))
    return await stored(db)


async def stored(db: Database) -> Transcription:
    async with db.read() as connection:
        found = as_model(Transcription, await connection.execute(select(jobs)))
    assert found
    return found


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_a_move_is_in_the_table_exactly_if_the_drawing_has_it(source: Stage, target: Stage) -> None:
    assert ((source, target) in MOVES) == ((str(source), str(target)) in ALLOWED)
    assert (source in sources_of(target)) == ((source, target) in MOVES)


def test_nothing_leads_out_of_completed() -> None:
    assert not [target for source, target in MOVES if source is Stage.COMPLETED]


def test_every_stage_can_be_reached_and_every_open_one_can_end() -> None:
    reached = {Stage.ACCEPTED}
    for _ in Stage:
        reached |= {target for source, target in MOVES if source in reached}
    assert reached == set(Stage)
    for source in (Stage.ACCEPTED, Stage.SUBMITTING, Stage.SUBMITTED):
        assert {(source, Stage.COMPLETED), (source, Stage.FAILED)} <= MOVES


def test_each_setter_makes_only_moves_of_the_table() -> None:
    made = {(source, target) for _, target, sources in SETTERS for source in sources if source is not target}
    assert made == MOVES


@pytest.mark.parametrize("stage", list(Stage))
@pytest.mark.parametrize(("move", "target", "sources"), SETTERS, ids=[move.__name__ for move, _, _ in SETTERS])
async def test_a_move_is_made_from_its_stages_and_refused_from_all_others(
    db: Database, move: Move, target: Stage, sources: set[Stage], stage: Stage
) -> None:
    job = await row_in(db, stage)
    made = await db.write(lambda connection: move(connection, job))
    after = await stored(db)
    assert bool(made) == (stage in sources)
    if made:
        assert after.stage == target
    else:
        assert after == job


@pytest.mark.parametrize("late", [submitted, waiting, unsettled, uploaded])
@pytest.mark.parametrize("end", [completed, failed])
async def test_what_a_worker_says_after_the_end_changes_nothing(db: Database, end: Move, late: Move) -> None:
    claimed = await row_in(db, Stage.SUBMITTING)
    await db.write(lambda connection: end(connection, claimed))
    ended = await stored(db)
    assert not await db.write(lambda connection: late(connection, claimed))
    assert await stored(db) == ended


@pytest.mark.parametrize("late", [waiting, unsettled, uploaded])
async def test_a_worker_that_slept_through_its_lease_changes_nothing(db: Database, late: Move) -> None:
    sleeper = await row_in(db, Stage.SUBMITTING)
    other = Claimant("other", NOW_MS + 60_000, 1000)
    await db.write(lambda connection: claims.claim(connection, Transcription, other, limit=1))
    taken_over = await stored(db)
    assert taken_over.leased_by == "other"
    assert not await db.write(lambda connection: late(connection, sleeper))
    assert await stored(db) == taken_over


async def test_the_answer_to_a_create_of_an_earlier_attempt_does_not_become_the_new_ones(db: Database) -> None:
    first = await row_in(db, Stage.SUBMITTING)
    await db.write(lambda connection: failed(connection, first))
    ended = await stored(db)
    assert await db.write(lambda connection: again(connection, ended))
    waiting_again = await stored(db)
    assert (waiting_again.stage, waiting_again.attempt) == (Stage.ACCEPTED, 2)
    assert not await db.write(lambda connection: submitted(connection, first))
    assert await stored(db) == waiting_again


async def test_the_first_soniox_id_wins_and_its_repetition_is_taken_for_the_same(db: Database) -> None:
    job = await row_in(db, Stage.SUBMITTING)
    for soniox_id, expected in (("one", True), ("two", False), ("one", True)):

        async def step(connection: AsyncConnection, soniox_id: str = soniox_id) -> bool:
            return await transcriptions.mark_submitted(
                connection, job, soniox_id, now_ms=NOW_MS, check_at_ms=NOW_MS
            )

        assert await db.write(step) is expected
    assert (await stored(db)).soniox_id == "one"


@pytest.mark.parametrize("stage", list(Stage))
async def test_what_soniox_last_said_is_remembered_only_while_it_is_submitted(db: Database, stage: Stage) -> None:
    before = await row_in(db, stage)
    seen = Seen("job", "first-id", "processing", 1000, None, NOW_MS + 5)
    await db.write(lambda connection: transcriptions.mark_seen(connection, [seen]))
    after = await stored(db)
    if stage is Stage.SUBMITTED:
        assert (after.soniox_status, after.check_at_ms) == ("processing", NOW_MS + 5)
    else:
        assert after == before


@pytest.mark.parametrize(
    ("stage", "last_seen", "expected"),
    [
        (Stage.ACCEPTED, None, "queued"),
        (Stage.SUBMITTING, None, "queued"),
        (Stage.SUBMITTED, None, "queued"),
        (Stage.SUBMITTED, "queued", "queued"),
        (Stage.SUBMITTED, "processing", "processing"),
        (Stage.SUBMITTED, "completed", "processing"),  # completed only once it is stored here
        (Stage.SUBMITTED, "a-word-to-come", "queued"),
        (Stage.COMPLETED, "queued", "completed"),
        (Stage.FAILED, "completed", "error"),
    ],
)
def test_callers_read_one_of_sonioxs_four_words(stage: Stage, last_seen: str | None, expected: str) -> None:
    assert soniox_status(stage, last_seen) == expected


@given(st.integers(0, 10_000), st.integers(1, 10_000), st.integers(1, 10_000_000), st.integers())
def test_waits_grow_to_the_longest_and_chance_adds_up_to_half(
    tries: int, first: int, longest: int, seed: int
) -> None:
    wait = backoff_ms(tries, first_ms=first, longest_ms=longest, chance=random.Random(seed))
    base = min(longest, first * 2 ** min(tries, 20))
    assert base <= wait <= base * 1.5


async def test_of_two_ends_in_the_same_transaction_the_first_counts_and_what_is_gone_has_none(
    db: Database,
) -> None:
    job = await row_in(db, Stage.SUBMITTED)
    first = Ending(job.id, job.attempt, Stage.COMPLETED, NOW_MS, "webhook", audio_duration_ms=5)
    second = Ending(job.id, job.attempt, Stage.FAILED, NOW_MS, "reconciler", error_type="x")
    gone = Ending("gone", 1, Stage.COMPLETED, NOW_MS, "webhook")
    ends = await db.write(lambda connection: endings.mark_finished(connection, [gone, first, second]))
    assert [end and (end.stage, end.learned_from) for end in ends] == [None, (Stage.COMPLETED, "webhook"), None]
    assert (await stored(db)).error_type is None


async def test_an_end_of_an_earlier_attempt_changes_nothing(db: Database) -> None:
    job = await row_in(db, Stage.SUBMITTED)
    late = Ending(job.id, job.attempt - 1, Stage.COMPLETED, NOW_MS, "webhook")
    assert await db.write(lambda connection: finished(connection, late)) is False
    assert await stored(db) == job


async def test_an_end_that_tells_less_keeps_what_was_known(db: Database) -> None:
    job = await row_in(db, Stage.SUBMITTED)
    ending = Ending(job.id, job.attempt, Stage.FAILED, NOW_MS, "submission", error_type="x")
    assert await db.write(lambda connection: finished(connection, ending))
    after = await stored(db)
    assert (after.soniox_id, after.model, after.error_type) == (job.soniox_id, job.model, "x")
