"""Several processes on one PostgreSQL: killed at will, few connections, behind a pooler, kind to autovacuum."""

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator
from functools import partial

import asyncpg
import pytest

from service.db.database import open_database
from service.db.notify import Notifier, listen
from service.ids import new_uuid
from service.store import claims, inbox
from service.store.claims import Claimant
from service.store.statements import insert_all
from service.tables import Webhook
from tests.support.pgbouncer import PROGRAM, SERVER_CONNECTIONS, pgbouncer
from tests.support.relay_app import open_relay_app
from tests.support.relay_processes import Process, RelayProcesses, open_relay_processes, reserved_port
from tests.support.servers import http_client
from tests.support.waiting import until

JOBS = int(os.environ.get("SCALE_OUT_JOBS", "60"))
KILLS = int(os.environ.get("SCALE_OUT_KILLS", "4"))
CONNECTIONS = 4
NOW_MS = 2_000_000_000_000

needs_pgbouncer = pytest.mark.skipif(
    PROGRAM is None, reason="pgbouncer is not installed (apt-get install pgbouncer)"
)


class Group:
    """Two serving processes and two workers; one that is killed is started again."""

    def __init__(self, processes: RelayProcesses, other_port: int) -> None:
        self.processes = processes
        self.members: dict[str, Process] = {}
        self.other_port = other_port

    async def start(self, name: str) -> None:
        verb = name.partition("-")[0]
        arguments = {"serve": ("serve", "--no-worker"), "worker": ("worker",)}[verb]
        elsewhere = ("--port", str(self.other_port)) if name == "serve-2" else ()
        self.members[name] = await self.processes.spawn(*arguments, *elsewhere)
        if name == "serve-1":
            self.processes.relay = self.members[name]

    async def kill_one(self, chance: random.Random) -> None:
        name = chance.choice(sorted(self.members))
        self.members[name].kill()
        await self.members[name].wait()
        await self.start(name)


async def test_what_a_killed_worker_had_begun_is_done_once_by_the_other(postgres_database: str) -> None:
    async with open_relay_processes(postgres_database) as processes:
        processes.relay = await processes.spawn("serve", "--no-worker")
        worker, _ = [await processes.spawn("worker") for _ in range(2)]
        await processes.until_up(within_s=60)
        await processes.until_ready(within_s=60)
        submitting = asyncio.create_task(processes.submit_many(0, 30))
        await processes.until_created(10)
        worker.kill()
        await submitting
        account = await processes.settled()
        assert account.is_clean(), account
        assert account.jobs == 30


@pytest.mark.long
async def test_whoever_is_killed_of_several_servers_and_workers_nothing_is_lost_or_doubled(
    postgres_database: str,
) -> None:
    with reserved_port() as other_port:
        async with open_relay_processes(postgres_database) as processes:
            group = Group(processes, other_port)
            for name in ("serve-1", "serve-2", "worker-1", "worker-2"):
                await group.start(name)
            await processes.until_up(within_s=60)
            await processes.until_ready(within_s=60)
            submitting = asyncio.create_task(submit_all(processes, other_port))
            chance = random.Random(7)
            created = 0
            for _ in range(KILLS):
                created += chance.randint(1, JOBS // (KILLS + 1))
                await processes.until_created(created)
                await group.kill_one(chance)
            await submitting
            await processes.until_up(within_s=60)
            account = await processes.settled(within_s=100)
            assert account.is_clean(), account
            assert account.jobs == JOBS


async def submit_all(processes: RelayProcesses, other_port: int) -> None:
    """One half through each of the servers."""
    first = processes.client
    other_url = f"http://127.0.0.1:{other_port}"
    async with http_client(other_url, headers=dict(first.headers), timeout=20) as second:
        for number in range(JOBS):
            await processes.submit(number, patience_s=60, client=second if number % 2 else first)


async def test_one_process_opens_no_more_connections_than_it_is_allowed(postgres_database: str) -> None:
    async with open_relay_app(postgres_database, relay_database_connections=CONNECTIONS) as relay_app:
        async with watching(postgres_database) as seen:

            async def ends_of_preparation() -> bool:
                """What looked after the tables at the start is on its way out."""
                return bool(seen) and seen[-1] <= CONNECTIONS + 1

            await relay_app.until(ends_of_preparation)
            seen.clear()
            jobs = await asyncio.gather(*(relay_app.submit() for _ in range(40)))
            await asyncio.gather(*(relay_app.client.get("/v1/transcriptions") for _ in range(60)))
            for job in jobs:
                assert (await relay_app.finished(job["id"], within_s=40))["status"] == "completed"
        assert 1 < max(seen) <= CONNECTIONS + 1  # one more listens


@contextlib.asynccontextmanager
async def watching(database_url: str) -> AsyncIterator[list[int]]:
    """How many connections others had to the database, again and again while the block runs."""
    seen: list[int] = []
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    query += " AND backend_type = 'client backend'"  # autovacuum is nobody of ours
    connection = await asyncpg.connect(database_url)

    async def look() -> bool:
        seen.append(await connection.fetchval(query))
        return False  # it looks again until it is cancelled

    task = asyncio.create_task(until(look, within_s=120))
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await connection.close()


@needs_pgbouncer
async def test_behind_pgbouncer_in_transaction_mode_jobs_are_done_through_few_server_connections(
    postgres_database: str,
) -> None:
    with pgbouncer(postgres_database) as pooled_url:
        async with open_relay_app(pooled_url, relay_database_direct_url=postgres_database) as relay_app:
            async with watching(postgres_database) as seen:
                jobs = await asyncio.gather(*(relay_app.submit() for _ in range(40)))
                pages = await asyncio.gather(*(relay_app.client.get("/v1/transcriptions") for _ in range(60)))
                assert {page.status_code for page in pages} == {200}
                for job in jobs:
                    assert (await relay_app.finished(job["id"], within_s=40))["status"] == "completed"
            assert max(seen) <= SERVER_CONNECTIONS + 2  # one goes past it and listens, one may be on its way out


async def test_a_ring_reaches_the_lanes_of_another_process(postgres_database: str) -> None:
    here, there = Notifier(), Notifier()
    async with listen(postgres_database, here), listen(postgres_database, there):
        heard = asyncio.create_task(there.wait("collect", longest_s=30))

        def is_heard() -> bool:
            here.notify("collect")
            return heard.done()

        await until(is_heard, within_s=20)
        assert heard.result()


async def test_claims_and_renewals_are_updates_that_no_index_sees(postgres_database: str) -> None:
    """HOT, as PostgreSQL calls it: what autovacuum would have to clean up in the indexes is not made."""
    async with open_database(postgres_database, Notifier()) as database:
        for number in range(40):
            rows = [_webhook(NOW_MS + number * 100 + place) for place in range(20)]
            await database.write(partial(insert_all, rows=rows))
            who = Claimant("w", NOW_MS * 2, 20_000)
            claimed = await database.write(partial(claims.claim, model=Webhook, claimant=who, limit=20))
            held = [(row.id, row.fence) for row in claimed]
            await database.write(partial(claims.renew, model=Webhook, held=held, until_ms=NOW_MS * 2 + 1))
            for row in claimed:
                await database.write(partial(inbox.close, row=row, outcome="stored", now_ms=NOW_MS))
    updates, hot = await updates_of(postgres_database, "webhooks")
    assert updates == 40 * 20 * 3
    assert hot >= updates * 0.6  # two of three; the third takes the row out of the queue, and so out of its index


def _webhook(at_ms: int) -> Webhook:
    name = new_uuid(at_ms)
    return Webhook(
        id=name,
        transcription_id=name,
        soniox_id=name,
        status="completed",
        source="webhook",
        received_at_ms=at_ms,
        last_seen_at_ms=at_ms,
        due_at_ms=at_ms,
    )


async def updates_of(database_url: str, table: str) -> tuple[int, int]:
    """(updates, those that were HOT) so far."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("SELECT pg_stat_force_next_flush()")
        query = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = $1"
        row = await connection.fetchrow(query, table)
    finally:
        await connection.close()
    return int(row[0]), int(row[1])
