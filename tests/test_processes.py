"""Several real processes, a database that goes away, an orderly stop."""

import asyncio
import os
import shutil
import signal
import sqlite3
from pathlib import Path

import pytest

from service.clock import wall_ms
from service.db import open_database
from service.migrate import upgrade
from service.wakeups import Wakeups
from tests.support.postgres import own_server
from tests.support.relay_app import RelayApp, open_relay_app
from tests.support.relay_processes import RelayProcesses, open_relay_processes

SWEEP_INTERVAL_S = 1  # as the processes sets it


async def submit_many(processes: RelayProcesses, first: int, number: int) -> None:
    await asyncio.gather(*[processes.submit(place) for place in range(first, first + number)])


async def test_sigterm_under_load_ends_in_time_refuses_nobody_and_releases_every_lease(database_url: str) -> None:
    async with open_relay_processes(database_url) as processes:
        await processes.start()
        submitting = asyncio.create_task(submit_many(processes, 0, 60))
        await processes.until_up()
        await asyncio.sleep(0.5)
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
    total = 0
    async with open_database(database_url, Wakeups()) as database, database.read() as connection:
        for table in ("transcriptions", "webhooks", "deliveries", "removals"):
            query = f"SELECT count(*) FROM {table} WHERE lease_until_ms > {wall_ms() + 200}"  # noqa: S608
            total += int((await connection.exec_driver_sql(query)).scalar_one())
    return total


@pytest.mark.timeout(300)  # sixteen starts of processes, which a busy machine takes its time for
async def test_a_worker_that_slept_through_its_leases_completes_nothing_twice(postgres_database: str) -> None:
    """Eight workers on one PostgreSQL; one is stopped for twice the lease, then goes on."""
    async with open_relay_processes(postgres_database) as processes:
        processes.relay = await processes.spawn("serve", "--no-worker")
        await processes.until_up(within_s=60)
        workers = [await processes.spawn("worker") for _ in range(8)]
        try:
            await processes.until_ready(within_s=60)
            submitting = asyncio.create_task(submit_many(processes, 0, 150))
            await asyncio.sleep(2.5)
            os.kill(workers[0].pid, signal.SIGSTOP)
            await asyncio.sleep(8)
            os.kill(workers[0].pid, signal.SIGCONT)
            await submitting
            account = await processes.settled(within_s=100)
            assert account.is_clean(), account
            assert account.jobs == 150
        finally:
            for worker in workers:
                worker.kill()
                await worker.wait()


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
    headers = {"X-Soniox-Webhook-Secret": relay_app.relay.vault.webhook_secret(job)}
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
        try:
            await processes.until_up(within_s=60)
            await processes.until_ready(within_s=60)
            first = await swept_by(processes)
            sweeping = next(worker for worker in workers if f":{worker.pid}:" in first)
            sweeping.kill()
            killed = asyncio.get_running_loop().time()
            while await swept_by(processes) == first:  # noqa: ASYNC110  # another process does it
                await asyncio.sleep(0.05)
            assert asyncio.get_running_loop().time() - killed <= 2 * SWEEP_INTERVAL_S + 0.5
        finally:
            for worker in workers:
                if worker.returncode is None:
                    worker.kill()
                await worker.wait()


async def swept_by(processes: RelayProcesses) -> str:
    """The name of the process that ran the newest sweep."""
    return str((await processes.client.get("/v1/reconciler")).json()["runs"][0]["by"])
