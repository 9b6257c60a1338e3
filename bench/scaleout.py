"""Several processes on one PostgreSQL: how long a wake-up takes, and what a long reader costs the queue.

    python -m bench.scaleout

The reader holds a snapshot, as a backup does, so that nothing which is finished under it can be cleaned up. Rates
with and without one are taken in turns on the same database.
"""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import asyncpg
from sqlmodel import Session

from bench.rate import ratio
from bench.table import Row, show
from service.db.database import Database, open_database
from service.db.notify import Notifier, listen
from service.db.schema import upgrade
from service.queues import oldest_due
from service.store import inbox
from service.store.claims import Claimant
from service.store.statements import insert_all
from service.tables import Webhook
from tests.support.postgres import aside, execute, postgres_server

RINGS = 200
FINISHED = 2_000  # under the reader: over three minutes of the busiest hour of 100 million a year
MEASURED = 2_000
BATCH = 32
ROUNDS = 6


async def notifier(url: str) -> list[Row]:
    """From a ring in one process to the waking of a queue in another."""
    here, there, waits = Notifier(), Notifier(), []
    async with listen(url, here), listen(url, there):
        await asyncio.sleep(1)
        for _ in range(RINGS):
            waking = asyncio.create_task(there.wait("collect", 1))
            await asyncio.sleep(0.01)
            begun = time.perf_counter()
            here.notify("collect")
            await waking
            waits.append((time.perf_counter() - begun) * 1000)
    cuts = statistics.quantiles(waits, n=20)
    return [
        Row("PostgreSQL, wake-up across connections, p50", cuts[9], "ms", limit=20, at_least=False),
        Row("PostgreSQL, wake-up across connections, p95", cuts[18], "ms", limit=20, at_least=False),
    ]


async def under_a_reader(url: str) -> list[Row]:
    """Claims in a second after a while under a reader, beside the same without one."""
    rates: dict[bool, list[float]] = {True: [], False: []}
    async with open_database(url, Notifier()) as database:
        for turn in range(ROUNDS):
            for held in (False, True) if turn % 2 else (True, False):
                await execute_in(url, "VACUUM ANALYZE webhooks")
                async with reader(url, really=held):
                    await claim_rate(database, FINISHED)
                    rates[held].append(await claim_rate(database, MEASURED))
    with_one, without = (statistics.median(rates[held]) for held in (True, False))
    what = f"PostgreSQL, claims under a reader ({with_one:,.0f}/s) against none ({without:,.0f}/s)"
    return [Row(what, ratio(rates[True], rates[False]), limit=0.9)]


async def claim_rate(database: Database, number: int) -> float:
    """Insert so many due rows, then claim and finish them all; rows in a second of claiming."""
    now_ms = int(time.time() * 1000)
    new = [_webhook(now_ms - number, place) for place in range(number)]
    for begin in range(0, number, 500):
        await database.write(partial(insert_all, rows=new[begin : begin + 500]))
    claim, left, spent_s = oldest_due(Webhook), number, 0.0

    def claim_batch(session: Session) -> Sequence[Webhook]:
        return claim(session, Claimant("bench", int(time.time() * 1000), 20_000), BATCH)

    while left:
        begun = time.perf_counter()
        rows = await database.write(claim_batch)
        spent_s += time.perf_counter() - begun
        await database.write(partial(finish, rows=rows))
        left -= len(rows)
    return number / spent_s


def finish(session: Session, rows: Sequence[Webhook]) -> None:
    """As the end of the collect stage does."""
    for row in rows:
        inbox.close(session, row, "stored", 1)


def _webhook(since_ms: int, place: int) -> Webhook:
    """One that came so many milliseconds later."""
    now_ms = since_ms + place
    name = f"{now_ms}-{time.perf_counter_ns()}-{place:06d}"
    times: dict[str, Any] = {"received_at_ms": now_ms, "last_seen_at_ms": now_ms, "due_at_ms": now_ms}
    return Webhook(id=name, transcription_id=name, soniox_id=name, status="completed", source="webhook", **times)


@asynccontextmanager
async def reader(url: str, *, really: bool) -> AsyncIterator[None]:
    """Somebody who has read in a transaction that stays open."""
    connection = await asyncpg.connect(url)
    try:
        if really:
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM webhooks")
        yield
    finally:
        await connection.close()


async def execute_in(url: str, statement: str) -> None:
    """Run one statement outside a transaction."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def measure() -> list[Row]:
    """On a server of the bench's own."""
    with postgres_server() as server:
        await execute(server, "CREATE DATABASE relay_scale_bench")
        url = f"{server}/relay_scale_bench"
        try:
            aside(upgrade, url)
            return await notifier(url) + await under_a_reader(url)
        finally:
            await execute(server, "DROP DATABASE relay_scale_bench WITH (FORCE)")


def rows() -> list[Row]:
    """Wake-ups and the long reader."""
    return asyncio.run(measure())


if __name__ == "__main__":
    show(rows())
