"""The life of a transcription: every move that is allowed is made, every other changes nothing."""

import itertools
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlmodel import Session, select

from service.db.database import Database
from service.lifecycle import MOVES, Stage, backoff_ms, soniox_status, sources_of
from service.store import claims, quotas, transcriptions
from service.store.claims import Claimant
from service.store.quotas import Quotas
from service.store.statements import insert_all
from service.store.transcriptions import JobResult, Seen
from service.tables import Transcription

NOW_MS = 1_732_060_800_000
PAIRS = list(itertools.product(Stage, Stage))

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

Move = Callable[[Session, Transcription], bool]


def begin(session: Session, _job: Transcription) -> bool:
    """Move b, as the submit queue makes it."""
    claimant = Claimant("w", NOW_MS, 1000)
    claimed = quotas.claim_submissions(session, Quotas(9, 9, 9), claimant, 5)
    return any(row.stage == Stage.SUBMITTING and not row.unsettled for row in claimed)


def submitted(session: Session, job: Transcription) -> bool:
    return transcriptions.mark_submitted(session, job, "new-id", now_ms=NOW_MS, check_at_ms=NOW_MS)


def waiting(session: Session, job: Transcription) -> bool:
    return transcriptions.mark_waiting(session, job, due_at_ms=NOW_MS, error="later", spend_try=True)


def completed(session: Session, job: Transcription) -> bool:
    return finished(session, JobResult(job.id, job.attempt, Stage.COMPLETED, NOW_MS, "webhook"))


def failed(session: Session, job: Transcription) -> bool:
    ending = JobResult(job.id, job.attempt, Stage.FAILED, NOW_MS, "webhook", error_type="x")
    return finished(session, ending)


def finished(session: Session, ending: JobResult) -> bool:
    return transcriptions.mark_finished(session, ending) is not None


def again(session: Session, job: Transcription) -> bool:
    return transcriptions.mark_for_another_attempt(session, job, NOW_MS)


def unsettled(session: Session, job: Transcription) -> bool:
    return transcriptions.mark_unsettled(session, job, due_at_ms=NOW_MS, error="unknown")


def uploaded(session: Session, job: Transcription) -> bool:
    return transcriptions.mark_uploaded(session, job, "new-file")


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
    await db.write(lambda session: insert_all(session, [job]))
    return await stored(db)


async def stored(db: Database) -> Transcription:
    return await db.read(lambda session: session.exec(select(Transcription)).one())


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
    made = await db.write(lambda session: move(session, job))
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
    await db.write(lambda session: end(session, claimed))
    ended = await stored(db)
    assert not await db.write(lambda session: late(session, claimed))
    assert await stored(db) == ended


@pytest.mark.parametrize("late", [waiting, unsettled, uploaded])
async def test_a_worker_that_slept_through_its_lease_changes_nothing(db: Database, late: Move) -> None:
    sleeper = await row_in(db, Stage.SUBMITTING)
    other = Claimant("other", NOW_MS + 60_000, 1000)
    await db.write(lambda session: claims.claim(session, Transcription, other, limit=1))
    taken_over = await stored(db)
    assert taken_over.leased_by == "other"
    assert not await db.write(lambda session: late(session, sleeper))
    assert await stored(db) == taken_over


async def test_the_answer_to_a_create_of_an_earlier_attempt_does_not_become_the_new_ones(db: Database) -> None:
    first = await row_in(db, Stage.SUBMITTING)
    await db.write(lambda session: failed(session, first))
    ended = await stored(db)
    assert await db.write(lambda session: again(session, ended))
    waiting_again = await stored(db)
    assert (waiting_again.stage, waiting_again.attempt) == (Stage.ACCEPTED, 2)
    assert not await db.write(lambda session: submitted(session, first))
    assert await stored(db) == waiting_again


async def test_the_first_soniox_id_wins_and_its_repetition_is_taken_for_the_same(db: Database) -> None:
    job = await row_in(db, Stage.SUBMITTING)
    for soniox_id, expected in (("one", True), ("two", False), ("one", True)):

        def step(session: Session, soniox_id: str = soniox_id) -> bool:
            return transcriptions.mark_submitted(session, job, soniox_id, now_ms=NOW_MS, check_at_ms=NOW_MS)

        assert await db.write(step) is expected
    assert (await stored(db)).soniox_id == "one"


@pytest.mark.parametrize("stage", list(Stage))
async def test_what_soniox_last_said_is_remembered_only_while_it_is_submitted(db: Database, stage: Stage) -> None:
    before = await row_in(db, stage)
    seen = Seen("job", "first-id", "processing", 1000, None, NOW_MS + 5)
    await db.write(lambda session: transcriptions.mark_seen(session, [seen]))
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
    wait = backoff_ms(tries, first_ms=first, longest_ms=longest, rng=random.Random(seed))
    base = min(longest, first * 2 ** min(tries, 20))
    assert base <= wait <= base * 1.5


async def test_of_two_ends_in_the_same_transaction_the_first_counts_and_what_is_gone_has_none(
    db: Database,
) -> None:
    job = await row_in(db, Stage.SUBMITTED)
    first = JobResult(job.id, job.attempt, Stage.COMPLETED, NOW_MS, "webhook", audio_duration_ms=5)
    second = JobResult(job.id, job.attempt, Stage.FAILED, NOW_MS, "reconciler", error_type="x")
    gone = JobResult("gone", 1, Stage.COMPLETED, NOW_MS, "webhook")

    def finish(session: Session) -> list[Transcription | None]:
        return [transcriptions.mark_finished(session, ending) for ending in (gone, first, second)]

    ends = await db.write(finish)
    assert [end and (end.stage, end.learned_from) for end in ends] == [None, (Stage.COMPLETED, "webhook"), None]
    assert (await stored(db)).error_type is None


async def test_an_end_of_an_earlier_attempt_changes_nothing(db: Database) -> None:
    job = await row_in(db, Stage.SUBMITTED)
    late = JobResult(job.id, job.attempt - 1, Stage.COMPLETED, NOW_MS, "webhook")
    assert await db.write(lambda session: finished(session, late)) is False
    assert await stored(db) == job


async def test_an_end_that_tells_less_keeps_what_was_known(db: Database) -> None:
    job = await row_in(db, Stage.SUBMITTED)
    ending = JobResult(job.id, job.attempt, Stage.FAILED, NOW_MS, "submission", error_type="x")
    assert await db.write(lambda session: finished(session, ending))
    after = await stored(db)
    assert (after.soniox_id, after.model, after.error_type) == (job.soniox_id, job.model, "x")
