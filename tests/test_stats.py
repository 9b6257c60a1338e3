"""GET /v1/stats: the figures agree with what happened, and a key sees its own."""

from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from starlette.responses import Response

from service.db.database import Database
from service.lifecycle import DeliveryStatus, Stage
from service.services.statistics import quantiles, total, window_of
from service.store import hourly, statistics
from service.store.statements import insert_all
from service.store.statistics import Interval
from service.tables import Delivery, Transcription
from tests.support.relay_app import RelayApp
from tests.support.rows import plan

NOW_MS = 1_790_000_000_000
MINUTE_MS = 60_000


async def read(relay_app: RelayApp, **params: str) -> dict[str, Any]:
    answer = await relay_app.client.get("/v1/stats", params=params)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_what_happened_is_what_is_counted(relay_app: RelayApp) -> None:
    await relay_app.add_endpoint()
    for _ in range(2):
        await relay_app.finished((await relay_app.submit())["id"])
    bad = await relay_app.submit(client_reference_id="outcome=error:invalid_audio_file")
    await relay_app.finished(bad["id"])
    await relay_app.until_received("/events", 3)
    await relay_app.until_soniox_is_empty()

    async def are_settled() -> bool:
        return bool((await read(relay_app))["deliveries"]["delivered"] == 3)

    await relay_app.until(are_settled)
    figures = await read(relay_app)
    jobs = figures["jobs"]
    assert (jobs["completed"], jobs["failed"]) == (2, 1)
    assert jobs["learned_from"] == {"webhook": 3, "reconciler": 0, "submission": 0}
    assert 0 < jobs["turnaround_p50_ms"] <= jobs["turnaround_p95_ms"] < 20_000
    assert sum(one["completed"] + one["failed"] for one in jobs["intervals"]) == 3
    assert (figures["deliveries"]["delivered"], figures["deliveries"]["success_ratio"]) == (3, 1.0)
    assert [one["count"] for one in figures["stages"]] == [0, 0, 0]
    assert figures["quotas"]["transcriptions"] == {"used": 0, "limit": 2000}
    assert figures["quotas"]["requests_per_minute"]["used"] > 0
    [concern] = figures["attention"]
    assert (concern["kind"], concern["subject"]) == (
        "transcription_failed",
        {"type": "transcription", "id": bad["id"]},
    )
    action = concern["action"]
    assert (await relay_app.client.request(action["method"], action["path"])).status_code == 200


async def test_what_waits_is_counted_with_the_age_of_the_oldest(relay_app: RelayApp) -> None:
    await relay_app.faults(stick=True)
    job = await relay_app.submit()
    await relay_app.until(lambda: _is_at(relay_app, "submitted"))
    figures = {one["name"]: one for one in (await read(relay_app))["stages"]}
    assert figures["submitted"]["count"] == 1
    assert figures["submitted"]["oldest_s"] >= 0
    assert figures["accepted"] == {"name": "accepted", "count": 0, "oldest_s": None}
    await relay_app.client.delete(f"/v1/transcriptions/{job['id']}")


async def _is_at(relay_app: RelayApp, stage: str) -> bool:
    return any(one["name"] == stage and one["count"] for one in (await read(relay_app))["stages"])


async def test_a_key_sees_its_own_figures_and_nothing_of_the_service(relay_app: RelayApp) -> None:
    made = await relay_app.client.post("/v1/keys", json={"name": "mine", "scopes": ["submit", "read"]})
    mine = {"Authorization": f"Bearer {made.json()['key']}"}
    await relay_app.finished((await relay_app.submit())["id"])
    async with httpx.AsyncClient(base_url=relay_app.server.url, headers=mine) as client:
        body = {"model": "stt-async-v5", "audio_url": "https://sandbox.invalid/tokens=3"}
        job = (await client.post("/v1/transcriptions", json={**body})).json()["id"]
        assert (await client.get(f"/v1/transcriptions/{job}?wait=15")).json()["status"] == "completed"
        own = (await client.get("/v1/stats")).json()
    assert own["jobs"]["completed"] == 1
    assert {"quotas", "reconciler_finds"} & set(own) == set()
    assert (await read(relay_app))["jobs"]["completed"] == 2


async def test_without_the_scope_read_there_are_no_figures(relay_app: RelayApp) -> None:
    made = await relay_app.client.post("/v1/keys", json={"name": "blind", "scopes": ["submit"]})
    headers = {"Authorization": f"Bearer {made.json()['key']}"}
    assert (await relay_app.client.get("/v1/stats", headers=headers)).status_code == 403
    assert (await relay_app.client.get("/v1/stats?window=2h")).status_code == 400


async def test_a_given_up_delivery_and_its_endpoint_need_attention(relay_app: RelayApp) -> None:
    endpoint = await relay_app.add_endpoint()
    relay_app.receiver.answer = lambda _request: Response("gone", status_code=410)
    await relay_app.finished((await relay_app.submit())["id"])

    async def is_disabled() -> bool:
        return any(one["kind"] == "endpoint_disabled" for one in (await read(relay_app))["attention"])

    await relay_app.until(is_disabled)
    concern = next(one for one in (await read(relay_app))["attention"] if one["kind"] == "endpoint_disabled")
    assert concern["subject"] == {"type": "endpoint", "id": endpoint["id"]}
    assert concern["action"] == {"method": "PATCH", "path": f"/v1/endpoints/{endpoint['id']}"}
    assert concern["severity"] == "alarm"


def job(number: int, **values: Any) -> Transcription:
    given = {"id": f"job-{number:05d}", "owner": "me", "created_at_ms": NOW_MS, "filename": "a", "model": "m"}
    return Transcription(**{**given, **values})


def ended(number: int, stage: Stage, source: str, minutes_ago: float, took_ms: int = 1000) -> Transcription:
    at_ms = NOW_MS - int(minutes_ago * MINUTE_MS)
    return job(number, stage=stage, learned_from=source, created_at_ms=at_ms - took_ms, finished_at_ms=at_ms)


async def put(db: Database, rows: Sequence[Any]) -> None:
    await db.write(lambda session: insert_all(session, rows))


async def test_each_end_is_counted_once_and_in_its_interval(db: Database) -> None:
    good, bad = Stage.COMPLETED, Stage.FAILED
    await put(
        db,
        [
            ended(1, good, "webhook", 1),
            ended(2, good, "reconciler", 58),
            ended(3, bad, "submission", 0),
            ended(4, bad, "webhook", 30),
            ended(5, good, "webhook", 61),  # before the window
            job(6, stage=Stage.ACCEPTED),
        ],
    )
    window = window_of("1h", NOW_MS)
    found, mine, nobodys = await db.read(
        lambda session: (
            statistics.finished(session, window, None),
            statistics.finished(session, window, "me"),
            statistics.finished(session, window, "you"),
        )
    )
    assert mine == found
    assert total(nobodys, [*statistics.COMPLETED, *statistics.FAILED]) == 0
    assert {kind: total(found, [kind]) for kind in found[0].counts} == {
        ("completed", "webhook"): 1,
        ("completed", "reconciler"): 1,
        ("failed", "webhook"): 1,
        ("failed", "reconciler"): 0,
        ("failed", "submission"): 1,
    }
    starts = [one.since_ms for one in found]
    assert starts == list(range(window.since_ms, NOW_MS + 1, MINUTE_MS))
    assert all(start % MINUTE_MS == 0 for start in starts)
    assert found[-1].counts["failed", "submission"] == 1


async def test_deliveries_are_counted_by_what_came_of_them(db: Database) -> None:
    def delivery(number: int, status: DeliveryStatus, delivered_at_ms: int | None) -> Delivery:
        names: dict[str, Any] = {"id": f"dl-{number}", "event_id": "evt", "receiver": "ep", "owner": "me"}
        return Delivery(**names, status=status, created_at_ms=NOW_MS - 500, delivered_at_ms=delivered_at_ms)

    await put(
        db,
        [
            delivery(1, DeliveryStatus.DELIVERED, NOW_MS),
            delivery(2, DeliveryStatus.DELIVERED, NOW_MS - 100),
            delivery(3, DeliveryStatus.EXHAUSTED, None),
            delivery(4, DeliveryStatus.PENDING, None),
        ],
    )
    found = await db.read(lambda session: statistics.delivered(session, window_of("24h", NOW_MS), "me"))
    assert (total(found, statistics.DELIVERED), total(found, statistics.EXHAUSTED)) == (2, 1)
    assert quantiles(found, 0.5, 1) == [400, 500]


def test_a_quantile_weighs_each_interval_by_what_it_had() -> None:
    kind = ("completed", "webhook")
    busy = Interval(0, {kind: 99}, {kind: [1]})
    calm = Interval(1, {kind: 1}, {kind: [100]})
    assert quantiles([busy, calm], 0.95, 0.99, 1) == [1, 1, 100]
    assert quantiles([Interval(0, {kind: 0}, {})], 0.5) == [None]


@pytest.mark.parametrize("owner", [None, "me"])
async def test_the_oldest_of_a_stage_is_found_whoever_asks(db: Database, owner: str | None) -> None:
    await put(
        db,
        [
            job(1, stage=Stage.ACCEPTED, created_at_ms=7, due_at_ms=90),
            job(2, stage=Stage.ACCEPTED, created_at_ms=5, due_at_ms=95),
            job(3, stage=Stage.SUBMITTED, created_at_ms=3, check_at_ms=80),
        ],
    )
    found = await db.read(lambda session: statistics.count_by_stage(session, owner))
    assert found["accepted"] == statistics.StageCount(2, 5)
    assert found["submitted"] == statistics.StageCount(1, 3)
    assert found["submitting"] == statistics.StageCount(0, None)


async def test_a_worker_without_a_way_to_soniox_says_why(relay_app: RelayApp) -> None:
    async def all_have_spoken() -> bool:
        """Also the reconciler, whose first sweep could not end any more."""
        return not any(one["kind"].endswith("_silent") for one in (await read(relay_app))["attention"])

    await relay_app.until(all_have_spoken)
    await relay_app.faults(refuse=[{"status": 401, "remaining": 1000}])
    await relay_app.submit()

    async def is_told() -> bool:
        return any(one["kind"] == "soniox_blocked" for one in (await read(relay_app))["attention"])

    await relay_app.until(is_told)
    alarm = (await read(relay_app))["attention"][0]
    assert (alarm["kind"], alarm["severity"]) == ("soniox_blocked", "alarm")
    assert "401" in alarm["message"]


COUNTS: dict[str, tuple[str, Any]] = {
    "what ended in a window": ("transcriptions", statistics._FINISHED[True]),
    "one owner's": ("transcriptions", statistics._FINISHED[False]),
    "deliveries of a window": ("deliveries", statistics._DELIVERED[True]),
    "one owner's deliveries": ("deliveries", statistics._DELIVERED[False]),
    "what ended in an hour": ("transcriptions", hourly._count_statements(hourly.JOBS)[1]),
    "deliveries of an hour": ("deliveries", hourly._count_statements(hourly.DELIVERIES)[1]),
}


@pytest.mark.parametrize("what", COUNTS)
async def test_counting_reads_nothing_but_the_index(db: Database, what: str) -> None:
    """SQLite says so; what it reads of a table itself would grow with every transcription."""
    if not db.is_sqlite:
        pytest.skip("PostgreSQL decides by statistics, which an empty table does not have")
    table, statement = COUNTS[what]
    values = {"since": 0, "width": 1, "until": 2, "owner": "me"}
    asked = statement.params({name: values[name] for name in statement.compile().params.keys() & values.keys()})
    compiled = asked.compile(dialect=db.dialect, compile_kwargs={"literal_binds": True})
    steps = [step for step in await plan(db, compiled.string) if f" {table} " in step]
    assert steps
    assert all("USING COVERING INDEX" in step for step in steps), steps
