"""Claims: leases with a fence. Nobody works on what another holds, and a claim that was lost changes nothing."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from sqlalchemy.util import await_only
from sqlmodel import Session, select

from service.db.database import Database, open_database
from service.db.notify import Notifier
from service.store import claims, inbox
from service.store import reconciler as removals_store
from service.store.claims import Claimant
from service.store.inbox import InboxEntry
from service.store.statements import insert_all
from service.tables import Removal, Webhook, table_of

NOW_MS = 1_732_060_800_000
LEASE_MS = 20_000
removals = table_of(Removal)


async def lay_out(db: Database, *due: int | None, first: int = 0) -> None:
    """One row for each moment, in ms after NOW_MS, named in the order given, from the `first` on."""
    rows = [
        Removal(
            id=f"r{number:03}",
            transcription_id="t",
            created_at_ms=NOW_MS,
            due_at_ms=None if at_ms is None else NOW_MS + at_ms,
        )
        for number, at_ms in enumerate(due, first)
    ]
    await db.write(lambda session: insert_all(session, rows))


async def claim(db: Database, worker: str = "w1", *, limit: int = 10, after_ms: int = 0) -> list[Removal]:
    """Claim at `after_ms` after NOW_MS."""
    claimant = Claimant(worker, NOW_MS + after_ms, LEASE_MS)
    return await db.write(lambda session: claims.claim(session, Removal, claimant, limit=limit))


async def stored(db: Database, name: str = "r000") -> Removal:
    """The row as it is now."""
    return await db.read(lambda session: session.exec(select(Removal).where(removals.c.id == name)).one())


async def finish(db: Database, row: Removal) -> bool:
    return await db.write(lambda session: claims.finish(session, Removal, row, soniox_file_id="changed"))


async def postpone(db: Database, row: Removal, after_ms: int) -> bool:
    def step(session: Session) -> bool:
        return claims.postpone(session, Removal, row, due_at_ms=NOW_MS + after_ms, error="not now")

    return await db.write(step)


async def renew(db: Database, held: Sequence[Removal], until_ms: int) -> None:
    pairs = [(row.id, row.fence) for row in held]
    await db.write(lambda session: claims.renew(session, Removal, pairs, NOW_MS + until_ms))


async def release(db: Database, worker: str | None, after_ms: int = 0) -> None:
    await db.write(lambda session: claims.release(session, Removal, worker, NOW_MS + after_ms))


def ids(rows: Sequence[Removal]) -> list[str]:
    return [row.id for row in rows]


async def test_the_longest_due_come_first_and_what_is_not_due_stays(db: Database) -> None:
    await lay_out(db, -10, 5, None, -20, -30, 0)
    assert ids(await claim(db, limit=2)) == ["r004", "r003"]
    assert ids(await claim(db)) == ["r000", "r005"]
    assert await claim(db) == []


async def test_a_claim_says_who_holds_the_row_and_until_when(db: Database) -> None:
    await lay_out(db, 0)
    [row] = await claim(db, "w1")
    now = await stored(db)
    assert (now.leased_by, now.lease_until_ms, now.fence) == ("w1", NOW_MS + LEASE_MS, 1)
    assert row == now


@pytest.mark.parametrize("processes", [1, 3])
async def test_no_row_is_claimed_twice_by_workers_that_claim_at_once(database_url: str, processes: int) -> None:
    if database_url.startswith("sqlite"):
        processes = 1  # a SQLite file belongs to one
    databases = [open_database(database_url, Notifier()) for _ in range(processes)]
    opened = [await database.__aenter__() for database in databases]
    try:
        await lay_out(opened[0], *[0] * 300)
        workers = [
            claim(db, f"w{number}", limit=7) for number in range(30) for db in (opened[number % len(opened)],)
        ]
        taken = [row for rows in await asyncio.gather(*workers) for row in rows]
        while rest := await claim(opened[0], limit=50):
            taken += rest
    finally:
        for database in databases:
            await database.__aexit__(None, None, None)
    assert len(taken) == 300
    assert len({row.id for row in taken}) == 300


async def test_a_lease_that_ended_is_taken_over_and_its_first_holder_changes_nothing(db: Database) -> None:
    await lay_out(db, 0)
    [late] = await claim(db, "w1")
    assert await claim(db, "w2", after_ms=LEASE_MS - 1) == []
    [mine] = await claim(db, "w2", after_ms=LEASE_MS)

    assert not await finish(db, late)
    assert not await postpone(db, late, 99)
    await renew(db, [late], 999_999)
    now = await stored(db)
    assert now == mine
    assert (now.soniox_file_id, now.leased_by, now.lease_until_ms) == (None, "w2", NOW_MS + 2 * LEASE_MS)

    assert await finish(db, mine)
    done = await stored(db)
    assert (done.soniox_file_id, done.due_at_ms, done.lease_until_ms, done.leased_by) == (
        "changed",
        None,
        None,
        None,
    )


async def test_a_renewed_lease_is_not_taken_over(db: Database) -> None:
    await lay_out(db, 0, 0)
    first, second = await claim(db, "w1")
    await renew(db, [first], 3 * LEASE_MS)
    assert ids(await claim(db, "w2", after_ms=2 * LEASE_MS)) == [second.id]
    assert await finish(db, first)
    assert not await finish(db, second)


async def test_a_postponed_row_is_free_and_due_later_with_one_more_try(db: Database) -> None:
    await lay_out(db, 0)
    [row] = await claim(db)
    assert await postpone(db, row, 500)
    now = await stored(db)
    assert (now.due_at_ms, now.lease_until_ms, now.leased_by) == (NOW_MS + 500, None, None)
    assert (now.tries, now.last_error) == (1, "not now")
    assert await claim(db, after_ms=499) == []
    [again] = await claim(db, after_ms=500)
    assert again.fence == row.fence + 1


async def test_a_row_that_is_done_is_never_claimed_again(db: Database) -> None:
    await lay_out(db, 0)
    [row] = await claim(db)
    assert await finish(db, row)
    assert await claim(db, after_ms=10**9) == []
    assert not await postpone(db, row, 1)
    await renew(db, [row], 1)
    now = await stored(db)
    assert (now.due_at_ms, now.lease_until_ms) == (None, None)


async def test_release_frees_what_one_worker_holds_and_nothing_else(db: Database) -> None:
    await lay_out(db, 0, 0, 0)
    mine = await claim(db, "w1", limit=2)
    [theirs] = await claim(db, "w2")
    await release(db, "w1", after_ms=10)
    assert ids(await claim(db, "w3", after_ms=11)) == ids(mine)
    assert await finish(db, theirs)


async def test_release_of_all_frees_all(db: Database) -> None:
    await lay_out(db, 0, 0)
    await claim(db, "w1", limit=1)
    await claim(db, "w2", limit=1)
    await release(db, None, after_ms=10)
    assert len(await claim(db, "w3", after_ms=11)) == 2


async def test_the_next_due_row_is_the_first_that_still_waits_for_its_time(db: Database) -> None:
    await lay_out(db, -5, 700, 300, None)

    async def next_due_ms(after_ms: int) -> int | None:
        due_ms = await db.read(lambda session: claims.next_due_ms(session, Removal, NOW_MS + after_ms))
        return due_ms and due_ms - NOW_MS

    assert [await next_due_ms(after_ms) for after_ms in (0, 300, 700)] == [300, 700, None]


async def test_chosen_rows_are_taken_as_far_as_they_are_due_and_free(db: Database) -> None:
    await lay_out(db, 0, 1, 0, 0, None)
    [held] = await claim(db, "w1", limit=1)
    claimant = Claimant("w2", NOW_MS, LEASE_MS)
    chosen = [held.id, "r001", "r002", "r004", "unknown"]
    rows = await db.write(lambda session: claims.claim_those(session, Removal, claimant, chosen))
    assert ids(rows) == ["r002"]
    assert (rows[0].leased_by, rows[0].lease_until_ms, rows[0].fence) == ("w2", NOW_MS + LEASE_MS, 1)
    assert (await stored(db, "r003")).leased_by is None


async def test_a_special_claim_asks_its_own_question_and_sets_its_own_columns(db: Database) -> None:
    await lay_out(db, 0, 0, 0, 5)
    claimant = Claimant("w1", NOW_MS, LEASE_MS)

    def step(session: Session) -> list[Removal]:
        later = removals.c.id > "r000"
        return claims.claim(session, Removal, claimant, limit=9, where=later, soniox_file_id="f")

    rows = await db.write(step)
    assert [(row.id, row.soniox_file_id) for row in rows] == [("r001", "f"), ("r002", "f")]


async def test_a_removal_that_is_done_goes_only_while_its_claim_is_held(db: Database) -> None:
    await lay_out(db, 0, 0, 0, 0)
    lost, given_back, mine, another = await claim(db, "w1")
    await claim(db, "w2", limit=1, after_ms=LEASE_MS)
    await postpone(db, given_back, 99)
    for row in (lost, given_back, mine):
        await db.write(partial(removals_store.delete_removals, row=row))
    left = await db.read(lambda session: session.exec(select(Removal.id)).all())
    assert set(left) == {lost.id, given_back.id, another.id}


async def test_a_row_is_due_from_its_moment_on_whoever_works_on_it(db: Database) -> None:
    await lay_out(db, 300, None)

    async def is_any_due(after_ms: int) -> bool:
        return await db.read(lambda session: claims.is_any_due(session, Removal, NOW_MS + after_ms))

    assert [await is_any_due(after_ms) for after_ms in (299, 300)] == [False, True]
    await claim(db, after_ms=300)
    assert await is_any_due(300)


async def test_a_claim_passes_over_rows_that_another_is_just_taking(database_url: str) -> None:
    if database_url.startswith("sqlite"):
        pytest.skip("SQLite has one writer")
    async with open_database(database_url, Notifier()) as slow, open_database(database_url, Notifier()) as quick:
        await lay_out(slow, -1, 0)
        taken, go_on = asyncio.Event(), asyncio.Event()

        def dawdle(session: Session) -> list[Removal]:
            rows = claims.claim(session, Removal, Claimant("w1", NOW_MS, LEASE_MS), limit=1)
            taken.set()
            await_only(go_on.wait())
            return rows

        first = asyncio.create_task(slow.write(dawdle))
        await taken.wait()
        try:
            second = await asyncio.wait_for(claim(quick, "w2"), 30)
        finally:
            go_on.set()
        assert ids(second) == ["r001"]
        assert ids(await first) == ["r000"]


async def test_a_row_that_is_done_forgets_its_tries_and_its_last_error(db: Database) -> None:
    await lay_out(db, 0)
    [row] = await claim(db)
    await postpone(db, row, 0)
    [again] = await claim(db)
    assert (again.tries, again.last_error) == (1, "not now")
    await finish(db, again)
    done = await stored(db)
    assert (done.tries, done.last_error) == (0, None)


async def test_a_row_can_be_given_back_without_a_try_and_only_in_a_certain_state(db: Database) -> None:
    await lay_out(db, 0)
    [row] = await claim(db)
    later: dict[str, Any] = {"due_at_ms": NOW_MS + 5, "error": "e" * 600}
    other = removals.c.soniox_id == "other"

    async def give_back(**how: Any) -> bool:
        return await db.write(lambda session: claims.postpone(session, Removal, row, **later, **how))

    assert not await give_back(where=other)
    assert await stored(db) == row
    assert await give_back(spend_try=False, where=~other | removals.c.soniox_id.is_(None))
    now = await stored(db)
    assert (now.tries, now.due_at_ms, now.last_error) == (0, NOW_MS + 5, "e" * 500)


async def test_closing_a_row_of_the_inbox_tells_whether_the_claim_was_still_held(db: Database) -> None:
    """What follows from it, such as a removal at Soniox, depends on the answer."""
    hint = InboxEntry("w1", "job", "soniox", "completed", "webhook", NOW_MS)
    await db.write_many(inbox.record, hint)
    claimant = Claimant("w1", NOW_MS, LEASE_MS)
    (row,) = await db.write(lambda session: claims.claim(session, Webhook, claimant, limit=9))
    told = [await db.write(lambda session: inbox.close(session, row, "superseded", NOW_MS)) for _ in range(2)]
    assert told == [True, False]
