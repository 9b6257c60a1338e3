"""Several real processes, a database that goes away, an orderly stop."""

import asyncio
import os
import shutil
import signal
import sqlite3
from pathlib import Path

import asyncpg
import psutil
import pytest
from sqlalchemy import text

from service.clock import wall_ms
from service.db.database import open_database
from service.db.notify import Notifier
from service.db.schema import upgrade
from tests.chaos.child import SHORT_TIMES
from tests.support.postgres import own_server
from tests.support.relay_app import RelayApp, open_relay_app
from tests.support.relay_processes import SWEEP_INTERVAL_S, Process, RelayProcesses, open_relay_processes
from tests.support.waiting import until

LEASED = ("transcriptions", "webhooks", "deliveries", "removals")  # the tables whose rows are claimed


async def test_sigterm_under_load_ends_in_time_refuses_nobody_and_releases_every_lease(database_url: str) -> None:
    async with open_relay_processes(database_url) as processes:
        await processes.start()
        submitting = asyncio.create_task(processes.submit_many(0, 60))
        await processes.until_created(10)
        started = asyncio.get_running_loop().time()
        assert await processes.stop() == 0
        assert asyncio.get_running_loop().time() - started <= 10
        assert await leases_held(database_url) == 0
        await processes.start()
        await submitting
        account = await processes.settled()
        assert account.is_clean(), account
        assert account.jobs == 60


async def leases_held(database_url: str) -> int:
    """Leases that have not ended."""
    rows = " UNION ALL ".join(f"SELECT lease_until_ms FROM {table}" for table in LEASED)  # noqa: S608
    query = text(f"SELECT count(*) FROM ({rows}) AS leased WHERE lease_until_ms > :at_ms")  # noqa: S608
    async with open_database(database_url, Notifier()) as database:
        return await database.read(lambda session: int(session.scalar(query, {"at_ms": wall_ms() + 200})))


async def test_a_worker_that_slept_through_its_leases_completes_nothing_twice(postgres_database: str) -> None:
    await sleep_through_leases(postgres_database, workers=2, jobs=20)


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_one_of_eight_workers_that_slept_through_its_leases_completes_nothing_twice(
    postgres_database: str,
) -> None:
    await sleep_through_leases(postgres_database, workers=8, jobs=150)


async def sleep_through_leases(database_url: str, workers: int, jobs: int) -> None:
    """Stop a worker in the middle of its work until others, which start then, have it; then let it go on."""
    async with open_relay_processes(database_url) as processes:
        processes.relay = await processes.spawn("serve", "--no-worker")
        sleeper = await processes.spawn("worker")
        await processes.until_up(within_s=60)
        await processes.until_ready(within_s=60)
        await processes.faults(slow={"ms": 300})  # so that a look finds it at work
        submitting = asyncio.create_task(processes.submit_many(0, jobs))
        await stop_at_work(sleeper, database_url)
        for _ in range(workers - 1):
            await processes.spawn("worker")
        await until(lambda: has_nothing(sleeper, database_url), within_s=60)
        os.kill(sleeper.pid, signal.SIGCONT)
        await processes.faults()
        await submitting
        account = await processes.settled(within_s=100)
        assert account.is_clean(), account
        assert account.jobs == jobs
        assert sleeper.returncode is None


async def stop_at_work(worker: Process, database_url: str) -> None:
    """SIGSTOP while it holds leases and no transaction, which would keep others from taking its rows over."""

    async def is_stopped_at_work() -> bool:
        os.kill(worker.pid, signal.SIGSTOP)
        if not await has_nothing(worker, database_url) and not await is_in_a_transaction(worker, database_url):
            return True
        os.kill(worker.pid, signal.SIGCONT)
        return False

    await until(is_stopped_at_work, within_s=60, every_s=0.1)


async def has_nothing(worker: Process, database_url: str) -> bool:
    """True if no row is leased by this process."""
    rows = " UNION ALL ".join(f"SELECT leased_by FROM {table}" for table in LEASED)  # noqa: S608
    query = f"SELECT count(*) FROM ({rows}) AS leased WHERE leased_by LIKE $1"  # noqa: S608
    return await value_of(database_url, query, f"%:{worker.pid}:%") == 0


async def is_in_a_transaction(worker: Process, database_url: str) -> bool:
    """True if a connection of this process has begun something that PostgreSQL has not ended."""
    ports = [connection.laddr.port for connection in psutil.Process(worker.pid).net_connections("tcp")]
    query = "SELECT count(*) FROM pg_stat_activity WHERE client_port = ANY($1::int[]) AND state <> 'idle'"
    return await value_of(database_url, query, ports) > 0


async def value_of(database_url: str, query: str, argument: object) -> int:
    connection = await asyncpg.connect(database_url)
    try:
        return int(await connection.fetchval(query, argument))
    finally:
        await connection.close()


@pytest.fixture
def short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the relay of this process: what a worker was cut off from is taken up again soon."""
    for module, times in SHORT_TIMES.items():
        for name, value in times.items():
            monkeypatch.setattr(f"{module}.{name}", value)


@pytest.mark.usefixtures("short_leases")
async def test_a_postgresql_that_is_restarted_in_flight_loses_nothing() -> None:
    with own_server() as server:
        await asyncio.to_thread(upgrade, f"{server.url}/postgres")
        async with open_relay_app(f"{server.url}/postgres") as relay_app:
            jobs = [(await relay_app.submit(client_reference_id="processing_ms=300"))["id"] for _ in range(20)]
            await asyncio.to_thread(server.stop)
            answer = await relay_app.client.get("/readyz")
            assert answer.status_code == 503
            assert "database" in answer.json()["checks"]
            assert (await tell(relay_app, jobs[0])) == 503
            await asyncio.to_thread(server.start)
            for job in jobs:
                assert (await relay_app.finished(job, within_s=30))["status"] == "completed"
            await relay_app.until(lambda: is_ready(relay_app))


async def test_a_locked_sqlite_file_answers_503_and_heals_by_itself(tmp_path: Path, sqlite_template: Path) -> None:
    path = tmp_path / "relay.db"
    shutil.copy(sqlite_template, path)
    async with open_relay_app(f"sqlite:///{path}") as relay_app:
        job = await relay_app.submit(client_reference_id="processing_ms=400")
        other = sqlite3.connect(path)
        other.execute("BEGIN EXCLUSIVE")
        assert await tell(relay_app, job["id"]) == 503
        other.rollback()
        other.close()
        assert (await relay_app.finished(job["id"], within_s=30))["status"] == "completed"
        await relay_app.until(lambda: is_ready(relay_app))


async def tell(relay_app: RelayApp, job: str) -> int:
    """A webhook as Soniox would send it; gives back the status of the answer."""
    headers = {"X-Soniox-Webhook-Secret": relay_app.relay.secret_box.webhook_secret(job)}
    body = {"id": "0b7f9c3e-6c0e-4f0e-9a53-2f0f8f1f7d11", "status": "completed"}
    answer = await relay_app.client.post(f"/webhooks/soniox?job={job}", json=body, headers=headers)
    return answer.status_code


async def is_ready(relay_app: RelayApp) -> bool:
    return (await relay_app.client.get("/readyz")).status_code == 200


async def test_when_the_sweeping_process_is_killed_another_takes_over_within_two_intervals(
    postgres_database: str,
) -> None:
    async with open_relay_processes(postgres_database) as processes:
        processes.relay = await processes.spawn("serve", "--no-worker")
        workers = [await processes.spawn("worker") for _ in range(2)]
        await processes.until_up(within_s=60)
        await processes.until_ready(within_s=60)
        first = await leader(processes)
        sweeping = next(worker for worker in workers if f":{worker.pid}:" in first)
        sweeping.kill()

        async def is_swept_by_another() -> bool:
            return await leader(processes) != first

        await until(is_swept_by_another, within_s=2 * SWEEP_INTERVAL_S + 0.5)


async def leader(processes: RelayProcesses) -> str:
    """The name of the process that ran the newest sweep."""
    return str((await processes.client.get("/v1/reconciler")).json()["runs"][0]["leader"])
