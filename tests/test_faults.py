"""Soniox in trouble: nothing is lost, nothing is done twice, no more calls are made than help."""

import asyncio
import functools
import os
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlmodel import Session

from service import governor as governor_module
from service import worker
from service.errors import SonioxError
from service.governor import Governor
from service.pipeline import cleanup, collect, submit
from service.reconcile import scheduler as sweeping
from service.sandbox.state import SandboxConfig
from service.soniox.client import Soniox
from tests.support.relay_app import RelayApp, open_relay_app
from tests.support.rows import value
from tests.support.simulation.deliveries import Moment
from tests.support.waiting import stays, until

SMALL = SandboxConfig(
    recognise="script",
    processing_ms=20,
    requests_per_minute=None,
    max_pending=20,
    max_transcriptions=60,
    max_files=30,
)
MANY = int(os.environ.get("BURST_JOBS", "400"))  # of the long form; 5000 pass too, with pytest's --timeout 0
SMALL_LIMITS: dict[str, Any] = {"relay_max_pending": 20, "relay_max_transcriptions": 60, "relay_max_files": 30}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses of the relay are short: what waits here waits for Soniox."""
    monkeypatch.setattr(governor_module, "RETRY_EVERY_S", 0.02)
    monkeypatch.setattr(worker, "POLL_EVERY_S", 0.05)
    monkeypatch.setattr(worker, "STOP_WITHIN_S", 0.2)
    monkeypatch.setattr(submit, "SETTLE_AFTER_MS", 300)
    monkeypatch.setattr(submit, "RETRY_AFTER_MS", 300)
    monkeypatch.setattr(cleanup, "LONGEST_WAIT_MS", 300)


@dataclass
class Parked:
    """A relay whose governor has the clock of the test, so that a closed gate stays closed."""

    relay_app: RelayApp
    clock: Moment
    heard: list[SonioxError | None]  # what each call came to
    under_way: set[asyncio.Task[Any] | None]  # who has passed the gate and has no answer yet
    waiting: list[asyncio.Task[bytes]] = field(default_factory=list)

    @property
    def calls(self) -> int:
        """Every request that the relay has sent to Soniox."""
        return self.relay_app.relay.soniox.made.total()

    async def until_quiet(self, more_than: int = 0) -> int:
        """Wait until more calls than that were made and each has its answer; how many more."""
        await until(lambda: self.calls == len(self.heard) > more_than and not self.under_way)
        return self.calls - more_than

    async def until_closed(self) -> None:
        """Wait until the gate is closed, and those calls are over that had passed it before."""
        await until(lambda: not self.relay_app.relay.governor.may_submit() and not self.under_way)

    def have_many_wait(self) -> None:
        """So that more than one would go out if more than one could."""
        soniox = self.relay_app.relay.soniox
        self.waiting = [asyncio.create_task(soniox.get_models()) for _ in range(8)]

    async def let_pass(self, seconds: float) -> int:
        """Let time pass in which something is sent; how many calls that are."""
        before = self.calls
        self.clock.forward(seconds)
        return await self.until_quiet(before)


@pytest.fixture
async def parked(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Parked]:
    """One whose sweeps often ask for Soniox's list: they are the probes."""
    monkeypatch.setattr(sweeping, "LEAKS_EVERY", 2)
    heard: list[SonioxError | None] = []
    under_way: set[asyncio.Task[Any] | None] = set()
    hear, pass_gate, call_once = Governor.record_result, Governor._wait_until_open, Soniox._try

    def counted(governor: Governor, error: SonioxError | None) -> None:
        heard.append(error)
        hear(governor, error)

    async def passed(governor: Governor) -> None:
        await pass_gate(governor)
        under_way.add(asyncio.current_task())

    async def called(soniox: Soniox, *args: Any) -> bytes:
        try:
            return await call_once(soniox, *args)
        finally:
            under_way.discard(asyncio.current_task())

    monkeypatch.setattr(Governor, "record_result", counted)
    monkeypatch.setattr(Governor, "_wait_until_open", passed)
    monkeypatch.setattr(Soniox, "_try", called)
    async with open_relay_app(database_url, relay_reconcile_interval_s=0.05) as relay_app:
        clock = Moment(relay_app.relay.clock())
        relay_app.relay.governor.clock = clock
        parked = Parked(relay_app, clock, heard, under_way)
        try:
            yield parked
        finally:
            for task in parked.waiting:
                task.cancel()
            await asyncio.gather(*parked.waiting, return_exceptions=True)


async def submit_many(relay_app: RelayApp, number: int, **fields: Any) -> list[str]:
    """As many, one after the other where order matters, else 50 at a time."""
    free = asyncio.Semaphore(50)

    async def one() -> str:
        async with free:
            return str((await relay_app.submit(**fields))["id"])

    return list(await asyncio.gather(*[one() for _ in range(number)]))


async def completed(relay_app: RelayApp) -> int:
    query = "SELECT count(*) FROM transcriptions WHERE stage = 'completed'"
    return int(await value(relay_app.relay.db, query))


async def until_completed(relay_app: RelayApp, number: int, within_s: float = 60) -> None:
    async def are_there() -> bool:
        return await completed(relay_app) == number

    await relay_app.until(are_there, within_s)


async def calls_made(relay_app: RelayApp) -> int:
    return int(sum((await relay_app.at_soniox())["calls"].values()))


async def assert_created_once_each(relay_app: RelayApp, number: int) -> None:
    creates = (await relay_app.at_soniox())["creates_by_webhook_url"]
    assert sorted(creates.values()) == [1] * number


@pytest.mark.parametrize("number", [120, pytest.param(MANY, marks=pytest.mark.long)])
async def test_a_burst_waits_here_and_never_meets_a_quota(database_url: str, number: int) -> None:
    async with open_relay_app(database_url, SMALL, **SMALL_LIMITS) as relay_app:
        uploaded = await relay_app.client.post("/v1/files", files={"file": ("tokens=7.wav", b"audio" * 100)})
        file_id = uploaded.json()["id"]
        await asyncio.gather(
            submit_many(relay_app, 3 * number // 4),
            submit_many(relay_app, number // 4, audio_url=None, file_id=file_id),
        )
        await until_completed(relay_app, number, within_s=max(60, number / 4))
        await relay_app.until_soniox_is_empty()
        state = await relay_app.at_soniox()
        assert state["high_water"]["pending"] <= 20
        assert state["high_water"]["transcriptions"] <= 60
        assert state["high_water"]["files"] <= 30
        assert set(state["quota_refusals"].values()) == {0}
        await assert_created_once_each(relay_app, number)


async def test_no_rolling_minute_sees_more_requests_than_allowed(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = 60
    refused = count_refusals(monkeypatch)
    sandbox = SandboxConfig(recognise="script", processing_ms=10, requests_per_minute=limit)
    async with open_relay_app(database_url, sandbox, relay_max_requests_per_minute=limit) as relay_app:
        await submit_many(relay_app, 40)
        await until(lambda: refused["live"] >= 100)  # all that wait have asked again and again
        state = await relay_app.at_soniox()
        assert limit * 0.6 <= state["high_water"]["requests_per_minute"] <= limit
        assert state["quota_refusals"]["rate"] == 0


def count_refusals(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the governor had no permit left, by traffic class."""
    refused: Counter[str] = Counter()
    spend = Governor._spend

    def counted(governor: Governor, session: Session, traffic_class: str) -> bool | None:
        given = spend(governor, session, traffic_class)
        refused[traffic_class] += given is False
        return given

    monkeypatch.setattr(Governor, "_spend", counted)
    return refused


async def test_jobs_go_to_soniox_in_the_order_they_came(relay_app: RelayApp) -> None:
    ids = [(await relay_app.submit())["id"] for _ in range(40)]
    await until_completed(relay_app, 40)
    created = [remote["webhook_url"].rpartition("job=")[2] for remote in await relay_app.created_at_soniox()]
    displaced = max(abs(created.index(job) - place) for place, job in enumerate(ids))
    assert displaced < 16  # as many are submitted at once


async def test_a_storm_of_every_fault_loses_nothing_and_doubles_nothing(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(governor_module, "MAX_PROBE_WAIT_MS", 200)
    async with open_relay_app(database_url, relay_reconcile_grace_s=1.0) as relay_app:
        await live_through_a_storm(relay_app)


async def live_through_a_storm(relay_app: RelayApp) -> None:
    await relay_app.faults(
        refuse=[{"status": status, "probability": 0.12} for status in (429, 500, 502, 503)],
        reset={"probability": 0.1},
        truncate={"probability": 0.1},
        lose_answer=[{"probability": 0.15, "how": "cut"}],
        drop_webhook=0.5,
        duplicate_webhook={"probability": 0.5},
    )
    relay_app.relay.governor.rate_pause_ms = 50
    number = 0
    while not await has_met_every_fault(relay_app, 5):
        number += 60
        await submit_many(relay_app, 60)
        await relay_app.until(functools.partial(is_through, relay_app, number), within_s=90)
    await relay_app.faults()
    await until_completed(relay_app, number, within_s=60)
    await relay_app.until_soniox_is_empty()
    await assert_created_once_each(relay_app, number)


async def is_through(relay_app: RelayApp, number: int) -> bool:
    """True if the storm has shown all it has, or has nothing left to spoil."""
    return await has_met_every_fault(relay_app, 5) or await completed(relay_app) == number


async def has_met_every_fault(relay_app: RelayApp, times: int) -> bool:
    """The webhooks' too, which come late in the life of a job."""
    knobs = (await relay_app.soniox.get("/_sandbox/faults")).json()
    fired = [rule["fired"] for rules in knobs.values() if isinstance(rules, list) for rule in rules]
    assert len(fired) >= 9
    return bool(min(fired) >= times)


async def test_while_soniox_is_out_of_order_only_probes_go_out(parked: Parked) -> None:
    relay_app = parked.relay_app
    await relay_app.faults(refuse=[{"status": 503}])
    await submit_many(relay_app, 50)
    await parked.until_closed()
    before = await calls_made(relay_app)
    parked.have_many_wait()
    assert [await parked.let_pass(20) for _ in range(5)] == [1] * 5
    assert await calls_made(relay_app) - before == 5
    assert "out of order" in (relay_app.relay.governor.blocked_reason() or "")
    await relay_app.faults()
    await parked.let_pass(20)
    await until_completed(relay_app, 50)
    await assert_created_once_each(relay_app, 50)


@pytest.mark.parametrize("status", [401, 402, 403])
async def test_a_refused_key_parks_all_work_and_its_cure_resumes_it(parked: Parked, status: int) -> None:
    relay_app, governor = parked.relay_app, parked.relay_app.relay.governor
    await relay_app.faults(
        refuse=[{"status": status, "error_type": "permission_denied", "message": "ask your admin"}]
    )
    await submit_many(relay_app, 30)
    await parked.until_closed()
    parked.have_many_wait()
    assert [await parked.let_pass(15) for _ in range(3)] == [1] * 3
    assert await calls_made(relay_app) < 30
    assert "ask your admin" in (governor.blocked_reason() or "")
    assert "relay_soniox_blocked 1.0" in (await relay_app.client.get("/metrics")).text
    await relay_app.faults()
    await parked.let_pass(15)
    await until_completed(relay_app, 30)
    assert governor.blocked_reason() is None
    assert "relay_soniox_blocked 0.0" in (await relay_app.client.get("/metrics")).text


async def test_a_rate_limit_is_waited_out_for_as_long_as_soniox_asks(parked: Parked) -> None:
    refusal = {"status": 429, "message": "Requests per minute limit exceeded", "retry_after": "2", "remaining": 1}
    await parked.relay_app.faults(refuse=[refusal])
    await submit_many(parked.relay_app, 1)
    await parked.until_closed()
    before = await calls_made(parked.relay_app)
    await submit_many(parked.relay_app, 5)
    parked.clock.forward(1.999)
    await stays(lambda: parked.calls == before, 0.3)
    parked.clock.forward(0.001)
    await until_completed(parked.relay_app, 6)


async def test_a_full_quota_stops_submissions_raises_an_alarm_and_looks_for_leaks(relay_app: RelayApp) -> None:
    relay_app.relay.governor.quota_pause_ms = 300
    leaked = {
        "model": "stt-async-v5",
        "audio_url": "https://sandbox.invalid/leaked.wav",
        "webhook_url": relay_app.relay.settings.webhook_url("01890000-0000-7000-8000-000000000000"),
    }
    await relay_app.faults(drop_webhook=True)
    await relay_app.soniox.post("/v1/transcriptions", json=leaked)
    message = "Total transcription count limit exceeded. Please delete some."
    await relay_app.faults(
        refuse=[{"status": 429, "message": message, "remaining": 2, "match": "POST /v1/transcriptions"}]
    )
    await submit_many(relay_app, 5)
    await until_completed(relay_app, 5)
    await relay_app.until_soniox_is_empty()
    metrics = (await relay_app.client.get("/metrics")).text
    assert "relay_soniox_quota_exceeded_total" in metrics
    assert relay_app.relay.governor.quota_refusals >= 1


async def test_clean_up_removes_the_transcription_before_its_file_and_waits_for_a_conflict(
    relay_app: RelayApp,
) -> None:
    conflict = {"status": 409, "remaining": 2, "match": "DELETE /v1/transcriptions/*"}
    await relay_app.faults(refuse=[conflict])
    uploaded = await relay_app.client.post("/v1/files", files={"file": ("tokens=7.wav", b"audio")})
    job = await relay_app.submit(audio_url=None, file_id=uploaded.json()["id"])
    assert (await relay_app.finished(job["id"]))["status"] == "completed"
    await relay_app.until_soniox_is_empty()
    calls = (await relay_app.at_soniox())["calls"]
    assert calls["DELETE /v1/transcriptions/{id}"] == 3
    assert calls["DELETE /v1/files/{id}"] == 1


async def test_a_transcript_that_stays_unreadable_fails_with_the_reason_and_is_left_at_soniox(
    relay_app: RelayApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect, "MAX_POLLS_MALFORMED", 2)
    await relay_app.faults(truncate=[{"match": "GET /v1/transcriptions/{id}/transcript"}])
    job = await relay_app.submit()
    done = await relay_app.finished(job["id"], within_s=60)
    assert (done["status"], done["error_type"]) == ("error", "malformed_transcript")
    await relay_app.faults()
    await relay_app.finished((await relay_app.submit())["id"])

    left: list[str] = []

    async def one_is_removed() -> bool:
        remotes = await relay_app.created_at_soniox()
        left[:] = [remote["webhook_url"] for remote in remotes if not remote["deleted"]]
        return len(left) < len(remotes)

    await relay_app.until(one_is_removed)  # the good one, whose turn came after the bad one's
    assert left == [relay_app.relay.settings.webhook_url(job["id"])]


async def test_the_timeline_tells_every_step_with_its_source_and_code(relay_app: RelayApp) -> None:
    await relay_app.add_endpoint("/events")
    job = await relay_app.submit()
    await relay_app.finished(job["id"])
    told: list[dict[str, Any]] = []

    async def whole() -> bool:
        """The receiver has the event a moment before we note that it has."""
        told[:] = (await relay_app.client.get(f"/v1/transcriptions/{job['id']}")).json()["timeline"]
        return bool(told[-1]["step"] == "delivered")

    await relay_app.until(whole)
    steps = [(entry["step"], entry["source"], entry["http_status"]) for entry in told]
    assert steps == [
        ("accepted", "api", None),
        ("submitted", "worker", 201),
        ("webhook_received", "webhook", 200),
        ("transcript_fetched", "worker", 200),
        ("completed", "webhook", None),
        ("delivered", "worker", 200),
    ]
