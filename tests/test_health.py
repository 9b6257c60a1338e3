"""Probes and metrics: alive, ready only when the work is really being done, figures that a scraper can read."""

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from service.app import create_app
from service.cli.demo.servers import free_port
from service.db.schema import upgrade
from service.errors import ConfigurationError
from service.relay import Relay
from service.store import system
from service.store.system import WORKER_SILENT_MS
from tests.support.metrics import figure, scrape
from tests.support.postgres import aside, execute
from tests.support.relay_app import AUDIO, MASTER_SECRET, MODEL, RelayApp, open_relay_app, settings_for
from tests.support.servers import serving

HEADER = "X-Soniox-Webhook-Secret"
NOTICE = {"id": "84c32fc6-4fb5-4e7a-b656-b5ec70493753", "status": "completed"}
KICK_OUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'"


@asynccontextmanager
async def relay_without_worker(database_url: str) -> AsyncIterator[tuple[httpx.AsyncClient, Relay]]:
    """`serve --no-worker`, as it is run beside worker processes."""
    settings = settings_for(database_url, "http://127.0.0.1:1", free_port())
    app = create_app(settings, with_worker=False)
    async with serving(app, settings.port) as server, httpx.AsyncClient(base_url=server.url, timeout=15) as client:
        yield client, server.lifespan.state["relay"]


async def beat(relay: Relay, name: str, ago_ms: int = 0) -> None:
    await relay.db.write(lambda session: system.record_heartbeat(session, name, relay.clock() - ago_ms, {}))


async def checks(client: httpx.AsyncClient) -> tuple[int, dict[str, str]]:
    answer = await client.get("/readyz")
    return answer.status_code, answer.json()["checks"]


async def test_a_relay_with_its_worker_is_alive_and_ready(relay_app: RelayApp) -> None:
    async def is_ready() -> bool:
        return (await relay_app.client.get("/readyz")).status_code == 200

    await relay_app.until(is_ready)
    assert await checks(relay_app.client) == (
        200,
        {"database": "ok", "migration": "ok", "worker": "ok", "reconciler": "ok"},
    )
    alive = await relay_app.client.get("/livez")
    assert (alive.status_code, alive.json()["status"]) == (200, "ok")


async def test_probes_need_no_key(relay_app: RelayApp) -> None:
    async with httpx.AsyncClient(base_url=relay_app.server.url) as stranger:
        for path in ("/livez", "/readyz", "/metrics"):
            assert (await stranger.get(path)).status_code in {200, 503}


async def test_without_a_worker_it_is_alive_but_not_ready(database_url: str) -> None:
    async with relay_without_worker(database_url) as (client, relay):
        assert (await client.get("/livez")).status_code == 200
        status, found = await checks(client)
        assert (status, found["database"]) == (503, "ok")
        assert (found["worker"], found["reconciler"]) == ("none has started", "none has started")

        await beat(relay, "worker:elsewhere")
        await beat(relay, "reconciler")
        assert (await checks(client))[0] == 200

        await beat(relay, "worker:elsewhere", ago_ms=WORKER_SILENT_MS + 1_000)
        status, found = await checks(client)
        assert (status, found["worker"], found["reconciler"]) == (503, "silent", "ok")

        await beat(relay, "worker:elsewhere")
        await beat(relay, "reconciler", ago_ms=3_600_000)
        status, found = await checks(client)
        assert (status, found["worker"], found["reconciler"]) == (503, "ok", "silent")


async def test_one_living_worker_among_dead_ones_is_enough(database_url: str) -> None:
    async with relay_without_worker(database_url) as (client, relay):
        await beat(relay, "reconciler")
        await beat(relay, "worker:dead", ago_ms=3_600_000)
        await beat(relay, "worker:living")
        assert (await checks(client))[0] == 200


async def test_with_an_old_schema_it_is_not_ready_and_a_new_process_refuses_to_start(database_url: str) -> None:
    async with relay_without_worker(database_url) as (client, relay):
        await beat(relay, "worker:elsewhere")
        await beat(relay, "reconciler")
        await relay.db.write(
            lambda session: session.execute(text("UPDATE alembic_version SET version_num = '0001'"))
        )
        status, found = await checks(client)
        assert status == 503
        assert "soniox-relay migrate" in found["migration"]
    app = create_app(settings_for(database_url, "http://127.0.0.1:1", free_port()))
    with pytest.raises(ConfigurationError, match="soniox-relay migrate"):
        async with app.router.lifespan_context(app):
            pass


async def test_a_second_process_on_one_sqlite_file_is_refused_with_the_reason(database_url: str) -> None:
    async with relay_without_worker(database_url):
        second = create_app(settings_for(database_url, "http://127.0.0.1:1", free_port()), with_worker=False)
        if database_url.startswith("sqlite"):
            with pytest.raises(ConfigurationError, match="another relay process"):
                async with second.router.lifespan_context(second):
                    pass
        else:
            async with second.router.lifespan_context(second):
                pass


async def test_without_its_postgresql_it_is_alive_but_not_ready_and_says_nothing_of_the_address(
    postgres_url: str,
) -> None:
    template = f"relay_template_{os.getpid()}"
    await execute(postgres_url, f"CREATE DATABASE relay_away TEMPLATE {template}")
    try:
        async with relay_without_worker(f"{postgres_url}/relay_away") as (client, _):
            await execute(postgres_url, "ALTER DATABASE relay_away ALLOW_CONNECTIONS false")
            await execute(postgres_url, KICK_OUT.format("relay_away"))
            answer = await client.get("/readyz")
            assert answer.status_code == 503
            assert answer.json()["checks"]["database"].startswith("the database does not answer")
            assert "127.0.0.1" not in answer.text
            assert (await client.get("/livez")).status_code == 200
            told = await client.get("/metrics")
            assert told.status_code == 200  # what this process counted is there all the same
            assert "\nrelay_database_up 0.0\n" in told.text
    finally:
        await execute(postgres_url, "DROP DATABASE relay_away WITH (FORCE)")


async def test_metrics_tell_what_happened_and_all_their_names_begin_with_relay(relay_app: RelayApp) -> None:
    before = await scrape(relay_app.client)
    await relay_app.client.post("/webhooks/soniox?job=x", json={})
    await relay_app.add_endpoint("/events")
    job = await relay_app.submit()
    await relay_app.finished(job["id"])
    await relay_app.until_received("/events")
    await relay_app.until_soniox_is_empty()
    after = await scrape(relay_app.client)

    def grown(name: str, **labels: str) -> float:
        return figure(after, name, **labels) - figure(before, name, **labels)

    webhooks = {"method": "POST", "route": "/webhooks/soniox"}
    assert grown("relay_http_request_seconds_count", **webhooks, code="200") == 1
    assert grown("relay_http_request_seconds_count", **webhooks, code="401") == 1
    assert grown("relay_transcriptions_finished_total", outcome="completed", source="webhook") == 1
    assert grown("relay_turnaround_seconds_count") == 1
    assert grown("relay_soniox_requests_total", operation="create_transcription", code="201") == 1
    assert figure(after, "relay_soniox_quota_limit", kind="pending") == 100
    assert figure(after, "relay_soniox_quota_used", kind="pending") == 0
    assert figure(after, "relay_transcriptions", stage="submitted") == 0
    assert {name for name, _ in after if not name.startswith("relay_")} == set()


async def test_work_that_waits_shows_in_the_metrics(database_url: str) -> None:
    async with relay_without_worker(database_url) as (client, relay):
        key = relay.settings.relay_api_key
        assert key
        body = {"model": "m", "audio_url": "https://example.com/a.wav"}
        headers = {"Authorization": f"Bearer {key.get_secret_value()}"}
        assert (await client.post("/v1/transcriptions", json=body, headers=headers)).status_code == 201
        assert figure(await scrape(client), "relay_transcriptions", stage="accepted") == 1


async def test_a_full_disk_is_told_to_soniox_and_to_probes_and_heals_by_itself(small_disk: Path) -> None:
    url = f"sqlite:///{small_disk}/relay.db"
    aside(upgrade, url)
    async with open_relay_app(url) as relay_app:
        await relay_app.finished((await relay_app.submit())["id"])
        ballast = small_disk / "ballast"
        fill(ballast)

        async def is_refused() -> bool:
            answer = await relay_app.client.post("/v1/transcriptions", json={"model": MODEL, "audio_url": AUDIO})
            return answer.status_code == 503

        await relay_app.until(is_refused)
        webhook = await relay_app.client.post("/webhooks/soniox", json=NOTICE, headers={HEADER: MASTER_SECRET})
        assert webhook.status_code == 503
        status, found = await checks(relay_app.client)
        assert (status, found["database"]) == (503, "the database's disk is full")
        ballast.unlink()

        async def is_ready() -> bool:
            return (await relay_app.client.get("/readyz")).status_code == 200

        await relay_app.until(is_ready, within_s=30)
        await relay_app.finished((await relay_app.submit())["id"])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB, where we may mount one."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(tmp_path)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:  # noqa: S603
        pytest.skip("needs the right to mount a small file system")
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)  # noqa: S603, S607


def fill(file: Path) -> None:
    """Until the disk is full."""
    with file.open("wb", buffering=0) as ballast, suppress(OSError):
        while True:
            ballast.write(b"x" * 4096)


async def test_requests_are_counted_and_timed_by_their_route_and_not_by_their_path(relay_app: RelayApp) -> None:
    before = await _requests_by_route(relay_app.client)
    for path in ("/v1/transcriptions/one", "/v1/transcriptions/two", "/nowhere", "/v1/nowhere"):
        assert (await relay_app.client.get(path)).status_code == 404
    await relay_app.client.post("/webhooks/soniox")
    after = await _requests_by_route(relay_app.client)
    more = {labels: number - before.get(labels, 0) for labels, number in after.items()}
    assert more["GET", "/v1/transcriptions/{transcription_id}", "404"] == 2
    assert more["GET", "none", "404"] == 2
    assert more["POST", "/webhooks/soniox", "401"] == 1
    assert not any("/one" in route or "nowhere" in route for _, route, _ in after)


async def _requests_by_route(client: httpx.AsyncClient) -> dict[tuple[str, str, str], float]:
    return {
        (label["method"], label["route"], label["code"]): value
        for (name, labels), value in (await scrape(client)).items()
        if name == "relay_http_request_seconds_count" and (label := dict(labels))
    }
