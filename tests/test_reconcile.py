"""The reconciler: what no webhook told is found, mended, counted and explained."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import update

from service import governor
from service.db.database import open_database
from service.db.notify import Notifier
from service.pipeline import submit
from service.reconcile.sweep import DEADLINE_MS, Finding, next_look_ms
from service.sandbox.state import SandboxConfig
from service.soniox.models import RemoteTranscription
from service.store import inbox, system
from service.tables import Transcription, table_of
from tests.support.relay_app import MODEL, RelayApp, open_relay_app
from tests.support.rows import value

MANY = int(os.environ.get("RECONCILE_JOBS", "200"))  # of the long form; 2000 pass too
SOON: dict[str, Any] = {"relay_reconcile_interval_s": 0.2, "relay_reconcile_grace_s": 0.0}
QUICK: dict[str, Any] = {"relay_reconcile_interval_s": 1.0, "relay_reconcile_grace_s": 0.0}


@pytest.fixture(autouse=True)
def quick_after_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses after a call that failed. Those of the reconciler itself stay."""
    monkeypatch.setattr(submit, "SETTLE_AFTER_MS", 500)
    monkeypatch.setattr(governor, "RETRY_EVERY_S", 0.02)
    monkeypatch.setattr(governor, "MAX_PROBE_WAIT_MS", 300)


@pytest.fixture
async def watchful(database_url: str) -> AsyncIterator[RelayApp]:
    """A relay_app whose reconciler sweeps each second and asks about every silence."""
    async with open_relay_app(database_url, **QUICK) as relay_app:
        yield relay_app


async def runs_of(relay_app: RelayApp) -> list[dict[str, Any]]:
    return list((await relay_app.client.get("/v1/reconciler")).json()["runs"])


async def found_in(relay_app: RelayApp, kind: str) -> int:
    return sum(run["findings"].get(kind, 0) for run in await runs_of(relay_app))


async def submit_many(relay_app: RelayApp, number: int) -> list[str]:
    """As many, 50 at a time."""
    free = asyncio.Semaphore(50)

    async def one() -> str:
        async with free:
            return str((await relay_app.submit())["id"])

    return list(await asyncio.gather(*[one() for _ in range(number)]))


async def all_completed(relay_app: RelayApp, number: int) -> bool:
    query = "SELECT count(*) FROM transcriptions WHERE stage = 'completed'"
    return bool(await value(relay_app.relay.db, query) == number)


async def slowest_ms(relay_app: RelayApp) -> int:
    """From submitted to stored; the double finishes within 10 ms."""
    return int(await value(relay_app.relay.db, "SELECT max(finished_at_ms - submitted_at_ms) FROM transcriptions"))


@pytest.mark.parametrize("number", [50, pytest.param(MANY, marks=pytest.mark.long)])
@pytest.mark.parametrize("failing", [0.0, 0.2], ids=["good", "a fifth of the calls fails"])
async def test_with_every_webhook_dropped_all_jobs_complete_at_few_calls(
    database_url: str, failing: float, number: int
) -> None:
    sandbox = SandboxConfig(recognise="script", processing_ms=10, requests_per_minute=None, max_pending=1000)
    async with open_relay_app(database_url, sandbox, relay_max_pending=1000, **QUICK) as relay_app:
        faults: dict[str, Any] = {"drop_webhook": True}
        if failing:
            faults["refuse"] = [{"status": 503, "probability": failing}]
        await relay_app.faults(**faults)
        await submit_many(relay_app, number)
        await relay_app.until(lambda: all_completed(relay_app, number), within_s=100)
        assert await slowest_ms(relay_app) <= 16_000
        if not failing:  # a call that fails is made again
            assert max(run["calls"] for run in await runs_of(relay_app)) <= 3
        assert len(await relay_app.created_at_soniox()) == number


async def test_create_answers_lost_by_the_hundred_make_no_second_transcription(watchful: RelayApp) -> None:
    await watchful.faults(lose_answer=[{"remaining": 100, "how": "cut"}])
    await submit_many(watchful, 100)
    await watchful.until(lambda: all_completed(watchful, 100), within_s=60)
    state = await watchful.at_soniox()
    assert set(state["creates_by_webhook_url"].values()) == {1}
    assert state["counts"]["created_ever"] == 100
    assert state["calls"]["GET /v1/transcriptions"] < 30  # listings are shared, not one for each doubt


async def test_a_webhook_that_we_refused_is_told_apart_and_diagnosed(database_url: str) -> None:
    async with open_relay_app(database_url, **QUICK) as relay_app:
        job = await relay_app.submit(client_reference_id="processing_ms=600")
        await relay_app.until(lambda: is_at_soniox(relay_app))
        await forge_secret(relay_app)
        done = await relay_app.finished(job["id"])
        assert done["status"] == "completed"
        entry = next(entry for entry in done["timeline"] if entry["step"] == "found_completed")
        assert entry["http_status"] == 401
        assert "secret" in entry["detail"]
        await relay_app.until(lambda: positive(found_in(relay_app, "webhook_rejected")))


async def is_at_soniox(relay_app: RelayApp) -> bool:
    return bool((await relay_app.at_soniox())["counts"]["transcriptions"])


async def is_completed_at_soniox(relay_app: RelayApp) -> bool:
    return bool((await relay_app.at_soniox())["counts"]["completed"])


async def have_run(relay_app: RelayApp, number: int) -> bool:
    return len(await runs_of(relay_app)) >= number


async def positive(number: Any) -> bool:
    return bool(await number > 0)


async def forge_secret(relay_app: RelayApp) -> None:
    """As if the master secret here had been changed without keeping the previous one."""
    object.__setattr__(relay_app.relay.secret_box, "master_secrets", (b"another-master-secret-000001",))


async def test_a_job_that_vanished_at_soniox_fails_with_the_reason_and_an_event(watchful: RelayApp) -> None:
    await watchful.add_endpoint("/events")
    await watchful.faults(drop_webhook=True)
    job = await watchful.submit(client_reference_id="vanish")
    done = await watchful.finished(job["id"], within_s=30)
    assert (done["status"], done["error_type"]) == ("error", "transcription_not_found")
    assert "no longer has" in done["error_message"]
    await watchful.until_received("/events")
    assert await found_in(watchful, "vanished") == 1


async def test_a_job_stuck_beyond_the_deadline_is_failed(watchful: RelayApp) -> None:
    job = await watchful.submit(client_reference_id="stuck")
    await watchful.until(lambda: is_at_soniox(watchful))
    long_ago = table_of(Transcription).c.submitted_at_ms - DEADLINE_MS
    since_long = update(table_of(Transcription)).values(submitted_at_ms=long_ago)
    await watchful.relay.db.write(lambda session: session.execute(since_long))
    done = await watchful.finished(job["id"])
    assert done["error_type"] == "deadline_exceeded"


async def test_what_is_ours_at_soniox_but_has_no_row_is_removed(watchful: RelayApp) -> None:
    leaked = {
        "model": MODEL,
        "audio_url": "https://sandbox.invalid/leaked.wav",
        "webhook_url": watchful.relay.settings.webhook_url("01890000-0000-7000-8000-000000000000"),
    }
    await watchful.faults(drop_webhook=True)
    await watchful.soniox.post("/v1/transcriptions", json=leaked)
    reference = {"client_reference_id": "soniox-relay:01890000-0000-7000-8000-000000000000:1"}
    await watchful.soniox.post("/v1/files", files={"file": ("leaked.wav", b"audio")}, data=reference)
    theirs = await watchful.soniox.post("/v1/files", files={"file": ("theirs.wav", b"audio")})
    watchful.relay.governor.quota_refusals += 1  # as when Soniox says that a quota is full: look for leaks now

    async def only_theirs_is_left() -> bool:
        counts = (await watchful.at_soniox())["counts"]
        return bool(counts["transcriptions"] == 0 and counts["files"] == 1)

    await watchful.until(only_theirs_is_left)
    assert (await watchful.soniox.get(f"/v1/files/{theirs.json()['id']}")).status_code == 200

    async def the_sweep_is_noted() -> bool:
        return await found_in(watchful, "leaked_file") > 0

    await watchful.until(the_sweep_is_noted)
    assert await found_in(watchful, "leaked_transcription") == 1
    assert await found_in(watchful, "leaked_file") == 1


@pytest.mark.parametrize("configured", [True, False])
async def test_a_foreign_transcription_that_points_at_us_is_adopted_only_when_configured(
    database_url: str, configured: bool
) -> None:
    async with open_relay_app(database_url, relay_adopt_foreign=configured, **SOON) as relay_app:
        await relay_app.faults(drop_webhook=True)
        foreign = {
            "model": MODEL,
            "audio_url": "https://sandbox.invalid/tokens=4",
            "webhook_url": f"{relay_app.server.url}/webhooks/soniox",
        }
        created = (await relay_app.soniox.post("/v1/transcriptions", json=foreign)).json()
        await relay_app.until(lambda: is_completed_at_soniox(relay_app))
        before = len(await runs_of(relay_app))
        relay_app.relay.governor.quota_refusals += 1
        if configured:
            await relay_app.until(lambda: all_completed(relay_app, 1))
        else:
            await relay_app.until(lambda: have_run(relay_app, before + 2))
            assert relay_app.relay.governor.foreign_usage.transcriptions == 1  # it was seen
        listed = (await relay_app.client.get("/v1/transcriptions")).json()["transcriptions"]
        assert [job["soniox_id"] for job in listed] == ([created["id"]] if configured else [])


async def test_a_webhook_in_the_same_second_as_the_sweep_changes_nothing(watchful: RelayApp) -> None:
    await watchful.add_endpoint("/events")
    await watchful.faults(drop_webhook=True)
    job = await watchful.submit()
    await watchful.finished(job["id"])
    created = (await watchful.created_at_soniox())[0]
    for _ in range(3):
        url = f"/webhooks/soniox?job={job['id']}"
        headers = {"X-Soniox-Webhook-Secret": watchful.relay.secret_box.webhook_secret(job["id"])}
        told = await watchful.client.post(url, json={"id": created["id"], "status": "completed"}, headers=headers)
        assert told.status_code == 200
    await watchful.until(lambda: is_worked_off(watchful))
    assert len((await watchful.client.get("/v1/events")).json()["events"]) == 1
    await watchful.until_received("/events")
    assert len(watchful.receiver.at("/events")) == 1


async def is_worked_off(relay_app: RelayApp) -> bool:
    """No row of the inbox waits any more, the reconciler's included."""
    return await relay_app.relay.db.read(inbox.count_open) == 0


async def test_one_job_is_asked_about_at_once_on_demand(database_url: str) -> None:
    async with open_relay_app(database_url, relay_reconcile_interval_s=600) as relay_app:
        await relay_app.faults(drop_webhook=True)
        job = await relay_app.submit()
        await relay_app.until(lambda: is_submitted(relay_app, job["id"]))
        await relay_app.until(lambda: is_completed_at_soniox(relay_app))
        answer = await relay_app.client.post(f"/v1/transcriptions/{job['id']}/reconcile")
        assert answer.json()["soniox_status_now"] == "completed"
        assert answer.json()["action"] == "collect the result"
        assert (await relay_app.finished(job["id"]))["status"] == "completed"


async def is_submitted(relay_app: RelayApp, job_id: str) -> bool:
    return bool((await relay_app.client.get(f"/v1/transcriptions/{job_id}")).json()["stage"] == "submitted")


async def test_the_office_passes_to_another_process_when_its_holder_is_silent(database_url: str) -> None:
    async with open_database(database_url, Notifier()) as database:

        async def take(holder: str, now_ms: int) -> bool:
            return await database.write(
                lambda session: system.acquire_leader_lease(
                    session, "reconciler", holder, now_ms=now_ms, until_ms=now_ms + 45
                )
            )

        assert await take("first", 0)
        assert not await take("second", 30)
        assert await take("first", 30)
        assert not await take("second", 60)
        assert await take("second", 80)
        assert not await take("first", 90)


def test_an_unfinished_job_is_left_alone_while_its_audio_cannot_be_done() -> None:
    job = Transcription(id="x", owner="o", created_at_ms=0, submitted_at_ms=0, filename="f", model=MODEL)
    long = RemoteTranscription(id="s", status="processing", audio_duration_ms=300 * 60_000)
    short = RemoteTranscription(id="s", status="processing", audio_duration_ms=60_000)
    assert next_look_ms(Finding(job, short, 1_000), 30_000) == 31_000
    assert next_look_ms(Finding(job, long, 1_000), 30_000) == 301_000
