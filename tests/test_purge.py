"""What is deleted is gone: by DELETE, or when its retention has passed; a receipt stays, no word does."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import text

from service import background
from service.clock import DAY_MS
from service.relay import Relay
from service.services.maintenance import erase_deleted, purge_expired
from service.services.transcriptions import delete_transcription
from service.store import transcription_queries
from service.store.statements import insert_all
from service.tables import Delivery
from tests.support.relay_app import RelayApp, open_relay_app
from tests.support.rows import first_column, value
from tests.support.transcripts import document, put, said

SECRET = "xylophonquartz"  # a word in no other place
FILLER = " ".join(f"word{n}" for n in range(3_000))
PLANTED = document(said(f"{FILLER} {SECRET} {FILLER}"), text=f"otherwise said {SECRET}", note=SECRET)
DAYS = 3


@pytest.fixture
async def keeping(database_url: str) -> AsyncIterator[RelayApp]:
    """A relay that keeps finished transcriptions for some days, and purges only when the test says so."""
    async with open_relay_app(database_url, with_worker=False, relay_retention_days=DAYS) as opened:
        yield opened


@pytest.fixture
async def working(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RelayApp]:
    """The same with a worker, whose own purge at the start would race with the test's."""

    async def nothing(_relay: Relay) -> int:
        return 0

    monkeypatch.setattr(background, "purge_expired", nothing)
    async with open_relay_app(database_url, relay_retention_days=DAYS) as opened:
        yield opened


def days_ago(relay_app: RelayApp, days: float) -> dict[str, int]:
    at_ms = relay_app.relay.clock() - int(days * DAY_MS)
    return {"created_at_ms": at_ms - 1_000, "finished_at_ms": at_ms}


async def remembered(relay_app: RelayApp, word: str) -> list[str]:
    """Where the database still has the word: files on SQLite, rows of any table on PostgreSQL."""
    needle = word.encode()
    if relay_app.relay.db.is_sqlite:
        path = relay_app.relay.settings.database_file
        return [each.name for each in path.parent.glob(f"{path.name}*") if needle in each.read_bytes()]
    db = relay_app.relay.db
    await db.read(lambda session: session.execute(text("VACUUM")))
    found = []
    for table in await first_column(db, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
        rows = f"SELECT count(*) FROM {table} AS row WHERE row::text LIKE :word OR row::text LIKE :hex"  # noqa: S608  # our names
        if await value(db, rows, word=f"%{word}%", hex=f"%{needle.hex()}%"):
            found.append(str(table))
    return found


async def receipts(relay_app: RelayApp) -> list[dict[str, Any]]:
    query = "SELECT body FROM events WHERE type = 'transcription.deleted' ORDER BY seq"
    return [json.loads(body)["data"] for body in await first_column(relay_app.relay.db, query)]


async def is_there(relay_app: RelayApp, transcription_id: str) -> bool:
    return (await relay_app.client.get(f"/v1/transcriptions/{transcription_id}")).status_code == 200


async def test_no_word_of_a_deleted_transcript_stays_in_the_database(relay_app: RelayApp) -> None:
    others = [await put(relay_app.relay, document(said(FILLER))) for _ in range(5)]
    gone = await put(relay_app.relay, PLANTED, request={"context": {"text": SECRET}}, filename=f"{SECRET}.wav")
    others.append(await put(relay_app.relay, document(said(FILLER))))
    await erase_deleted(relay_app.relay)
    assert await remembered(relay_app, SECRET)

    assert (await relay_app.client.delete(f"/v1/transcriptions/{gone}")).status_code == 204
    await erase_deleted(relay_app.relay)
    assert await remembered(relay_app, SECRET) == []
    found = await relay_app.client.get("/v1/search", params={"q": "word2999", "limit": 100})
    assert {hit["transcription_id"] for hit in found.json()["hits"]} == set(others)


async def test_a_deletion_is_scrubbed_by_itself(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.background.MIN_PAUSE_S", 0.05)
    async with open_relay_app(database_url) as relay_app:
        gone = await put(relay_app.relay, PLANTED)
        await relay_app.client.delete(f"/v1/transcriptions/{gone}")

        async def is_forgotten() -> bool:
            return await remembered(relay_app, SECRET) == []

        await relay_app.until(is_forgotten)


async def test_what_is_older_than_the_retention_goes_and_the_rest_stays(keeping: RelayApp) -> None:
    old = await put(keeping.relay, PLANTED, **days_ago(keeping, DAYS + 0.01), client_reference_id="order 7")
    failed = await put(keeping.relay, document([]), stage="failed", **days_ago(keeping, DAYS + 1))
    young = await put(keeping.relay, document(said("young")), **days_ago(keeping, DAYS - 0.01))
    long_open = await put(
        keeping.relay, document([]), stage="submitted", check_at_ms=2**50, created_at_ms=1, finished_at_ms=None
    )
    late = await put(keeping.relay, document([]), created_at_ms=1)

    assert await purge_expired(keeping.relay) == 2
    kept = [each for each in (old, failed, young, long_open, late) if await is_there(keeping, each)]
    assert kept == [young, long_open, late]
    await erase_deleted(keeping.relay)
    assert await remembered(keeping, SECRET) == []
    assert await purge_expired(keeping.relay) == 0


async def test_a_receipt_says_what_went_and_why(keeping: RelayApp) -> None:
    old = await put(keeping.relay, PLANTED, **days_ago(keeping, DAYS + 1), client_reference_id="order 7")
    await purge_expired(keeping.relay)
    asked = await put(keeping.relay, document(said("one two three")))
    await keeping.client.delete(f"/v1/transcriptions/{asked}")
    purged, deleted = await receipts(keeping)
    assert (purged["id"], purged["client_reference_id"], purged["reason"]) == (old, "order 7", "retention")
    assert purged["removed"] == {"tokens": 6_001, "files": 0, "deliveries": 0}
    assert purged["created_at"] < purged["finished_at"] < purged["deleted_at"]
    assert (deleted["id"], deleted["reason"], deleted["removed"]["tokens"]) == (asked, "request", 3)


async def test_what_is_still_to_be_delivered_is_not_purged(keeping: RelayApp) -> None:
    waiting = await put(keeping.relay, document(said("wait")), **days_ago(keeping, DAYS + 1))
    later_ms = keeping.relay.clock() + DAY_MS
    delivery = Delivery(
        id="dlv_1",
        event_id="evt_1",
        owner="bootstrap",
        receiver="ep_1",
        transcription_id=waiting,
        created_at_ms=1,
        due_at_ms=later_ms,
    )
    await keeping.relay.db.write(lambda session: insert_all(session, [delivery]))
    assert await purge_expired(keeping.relay) == 0
    assert await is_there(keeping, waiting)


async def test_what_is_tried_again_while_the_purge_looks_is_not_purged(keeping: RelayApp) -> None:
    failed = await put(keeping.relay, document([]), stage="failed", **days_ago(keeping, DAYS + 1))
    (seen,) = await keeping.relay.db.read(
        lambda session: transcription_queries.expired(session, keeping.relay.clock(), 9)
    )
    assert (await keeping.client.post(f"/v1/transcriptions/{failed}/retry")).status_code == 200
    assert await delete_transcription(keeping.relay, seen, "retention") is False
    assert await is_there(keeping, failed)


async def test_what_was_tried_again_in_vain_while_the_purge_looked_is_not_purged(working: RelayApp) -> None:
    failed = await put(working.relay, document([]), stage="failed", **days_ago(working, DAYS + 1))
    (seen,) = await working.relay.db.read(
        lambda session: transcription_queries.expired(session, working.relay.clock(), 9)
    )
    assert (await working.client.post(f"/v1/transcriptions/{failed}/retry")).status_code == 200
    assert (await working.finished(failed))["status"] == "error"
    assert await delete_transcription(working.relay, seen, "retention") is False
    assert await is_there(working, failed)


async def test_nothing_is_purged_without_a_retention(relay_app: RelayApp) -> None:
    old = await put(relay_app.relay, document(said("old")), created_at_ms=1, finished_at_ms=2)
    assert await purge_expired(relay_app.relay) == 0
    assert await is_there(relay_app, old)


async def test_a_large_backlog_is_purged_while_others_write_and_by_two_at_once(keeping: RelayApp) -> None:
    for _ in range(50):
        await put(keeping.relay, document(said("old")), **days_ago(keeping, DAYS + 1))
    counts = await asyncio.gather(purge_expired(keeping.relay), purge_expired(keeping.relay), keeping.submit())
    assert counts[0] + counts[1] == 50
    assert len(await receipts(keeping)) == 50
    assert (await keeping.client.get("/v1/transcriptions/count")).json()["total"] == 1
