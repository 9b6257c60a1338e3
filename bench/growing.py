"""What claims, acknowledgements, sweeps and lists cost after years of work, beside an empty database.

    python -m bench.growing [--jobs 1000000] [--deliveries 10000000]

Both databases of a kind are open at once and asked in turns, so that a noisy machine disturbs both; the medians
of the ratios are shown. In each there are as many due and outstanding rows; only what is finished differs.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from sqlmodel import Session

from bench.filling import fill
from bench.rate import ratio
from bench.table import Row, show
from service.db.database import Database, open_database
from service.db.notify import Notifier
from service.db.schema import upgrade
from service.lifecycle import Stage
from service.store import (
    claims,
    deliveries,
    delivery_queue,
    inbox,
    quotas,
    reconciler,
    transcription_queries,
    transcriptions,
)
from service.store.claims import Claimant
from service.store.inbox import InboxEntry
from service.store.statements import insert_all
from service.store.transcription_queries import Page
from service.tables import Delivery, Transcription, Webhook
from tests.support.postgres import aside, execute, postgres_server

JOBS, DELIVERIES = 100_000, 1_000_000
LIMIT = 1.3
ROUNDS = 40
BATCH = 32
OPEN = 100
NOW_MS = 2_000_000_000_000

Work = Callable[[Database, int], Awaitable[object]]


async def claim(database: Database, turn: int) -> None:
    """A batch from the inbox and one of deliveries, given back so that the next turn finds the same."""
    who = Claimant(f"bench-{turn}", NOW_MS + turn * 1000, 1)
    assert len(await database.write(lambda session: claims.claim(session, Webhook, who, limit=BATCH))) == BATCH
    assert len(await database.write(lambda session: delivery_queue.claim(session, who, BATCH))) == BATCH


async def acknowledge(database: Database, turn: int) -> None:
    """As many webhooks as fit one commit at that load."""
    names = [f"new-{turn}-{number}" for number in range(BATCH)]
    hints = [InboxEntry(name, name, name, "completed", "webhook", NOW_MS) for name in names]
    await asyncio.gather(*(database.write_many(inbox.record, hint) for hint in hints))


async def sweep(database: Database, turn: int) -> None:
    """The database's part of a sweep."""

    def look(session: Session) -> None:
        assert len(transcriptions.silent(session, NOW_MS + turn, 10_000)) == OPEN
        reconciler.stalled(session, NOW_MS, NOW_MS)
        quotas.usage(session)

    await database.read(look)


async def list_pages(database: Database, turn: int) -> None:
    """First pages as a dashboard asks for them: the newest, a caller's, those that wait, and deliveries."""

    def look(session: Session) -> None:
        for wanted in (
            transcription_queries.TranscriptionFilter(None),
            transcription_queries.TranscriptionFilter("o"),
            transcription_queries.TranscriptionFilter(None, statuses=("processing",)),
        ):
            assert transcription_queries.page(session, wanted, Page(BATCH))
        for chosen in (
            deliveries.DeliveryFilter(None),
            deliveries.DeliveryFilter(None, status="pending"),
            deliveries.DeliveryFilter("o"),
        ):
            assert deliveries.page(session, chosen, Page(BATCH))

    await database.read(look)


# The last one leaves rows that are due behind, which a sweep would count.
WORKS: dict[str, Work] = {"claim": claim, "sweep": sweep, "list": list_pages, "ack": acknowledge}


def add_work(session: Session) -> None:
    """The same outstanding rows everywhere."""
    job: dict[str, Any] = {"owner": "o", "filename": "f", "model": "m", "stage": Stage.SUBMITTED}
    job |= {"soniox_status": "processing", "check_at_ms": NOW_MS - 1}
    for number in range(OPEN):
        created: dict[str, Any] = {"created_at_ms": NOW_MS + number}
        mine = Transcription(id=f"t{number}", soniox_id=f"x{number}", **job, **created)
        insert_all(session, [mine])
        insert_all(session, [_webhook(f"w{number}", due_at_ms=NOW_MS - number)])
        to: dict[str, Any] = {
            "event_id": "none",
            "endpoint_id": f"to-{number % 10}",
            "receiver": f"to-{number % 10}",
        }
        insert_all(session, [Delivery(id=f"d{number}", owner="o", due_at_ms=NOW_MS - number, **to, **created)])


def _webhook(name: str, due_at_ms: int) -> Webhook:
    row: dict[str, Any] = {"source": "webhook", "received_at_ms": NOW_MS, "last_seen_at_ms": NOW_MS}
    return Webhook(id=name, transcription_id=name, soniox_id=name, status="completed", due_at_ms=due_at_ms, **row)


async def compare(name: str, empty: Database, full: Database) -> list[Row]:
    """A ratio for each kind of work."""
    found = []
    for what, work in WORKS.items():
        times: dict[Database, list[float]] = {empty: [], full: []}
        for turn in range(ROUNDS):
            for database in (empty, full) if turn % 2 else (full, empty):
                begun = time.perf_counter()
                await work(database, turn)
                times[database].append(time.perf_counter() - begun)
        alone_s, among_s = (times[database][ROUNDS // 8 :] for database in (empty, full))
        alone_ms, among_ms = (1000 * statistics.median(took_s) for took_s in (alone_s, among_s))
        label = f"{name}, {what} among the finished ({among_ms:.2f} ms) against empty ({alone_ms:.2f} ms)"
        found.append(Row(label, ratio(among_s, alone_s), limit=LIMIT, at_least=False))
    return found


@asynccontextmanager
async def pair(empty_url: str, full_url: str, jobs: int, number: int) -> AsyncIterator[tuple[Database, Database]]:
    """Both databases, one with a history."""
    for url in (empty_url, full_url):
        aside(upgrade, url)
    took_s = await fill(full_url, jobs, number, NOW_MS)
    print(f"filled with {jobs:,} jobs and {number:,} deliveries in {took_s:.0f} s", file=sys.stderr)
    async with AsyncExitStack() as stack:
        both = [await stack.enter_async_context(open_database(url, Notifier())) for url in (empty_url, full_url)]
        for database in both:
            await database.write(add_work)
        yield both[0], both[1]


async def measure(jobs: int, number: int) -> list[Row]:
    """All rows; one kind of database after the other, to need less disk."""
    with tempfile.TemporaryDirectory(prefix="relay-growing-") as folder:
        empty_url, full_url = (f"sqlite:///{Path(folder) / name}.db" for name in ("empty", "full"))
        async with pair(empty_url, full_url, jobs, number) as both:
            found = await compare("SQLite", *both)
    with postgres_server() as server:
        for name in ("relay_empty_bench", "relay_full_bench"):
            await execute(server, f"CREATE DATABASE {name}")
        try:
            async with pair(f"{server}/relay_empty_bench", f"{server}/relay_full_bench", jobs, number) as both:
                found += await compare("PostgreSQL", *both)
        finally:
            for name in ("relay_empty_bench", "relay_full_bench"):
                await execute(server, f"DROP DATABASE {name} WITH (FORCE)")
    return found


def rows(jobs: int = JOBS, number: int = DELIVERIES) -> list[Row]:
    """What is finished must not be felt."""
    return asyncio.run(measure(jobs, number))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--deliveries", type=int, default=DELIVERIES)
    options = parser.parse_args()
    show(rows(options.jobs, options.deliveries))
