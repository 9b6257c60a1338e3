"""How quickly events are delivered, beside the same requests without a database: `python -m bench.deliveries`.

All of it is on SQLite with durable commits, with 50 requests at once to a receiver that answers at once. Then one
of 100 endpoints hangs, and the others' waits are compared with those of a run in which none does.
"""

import asyncio
import contextlib
import logging
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import structlog
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bench.neighbour import beside
from bench.rate import calls_per_s
from bench.sink import Sink
from bench.table import Row, show
from service.app import settle_memory
from service.downstream.guard import Guard
from service.downstream.message import Message
from service.downstream.send import Sender
from service.downstream.sign import signed_headers
from service.ids import new_id
from service.lanes import lanes_of
from service.migrate import upgrade
from service.relay import Relay, open_relay
from service.schemas import event_body
from service.settings import Settings
from service.store import deliveries, endpoints, events
from service.store.events import Told
from service.tables import Endpoint, Event
from service.vault import new_endpoint_secret
from service.worker import Worker

AT_ONCE = 50
BARE = 300
DELIVERED = 4_000
ENDPOINTS = 100
TRICKLE = 1_200  # deliveries of one fairness run
TRICKLE_PER_S = 150  # far below what it can do: waits are compared, not queues
ROUNDS = 3
DATA = {"id": "0b7f9c3e-6c0e-4f0e-9a53-2f0f8f1f7d11", "status": "completed", "metadata": {"text": "x" * 300}}


async def bare_httpx(url: str, body: bytes) -> float:
    """What one would write first."""
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=AT_ONCE)) as client:
        return await calls_per_s(BARE, AT_ONCE, lambda: client.post(url, content=body))


async def bare_sender(url: str, body: bytes) -> float:
    """The relay's client and signatures, without a database."""
    sender, secret = Sender(Guard(("127.0.0.1",)), 15), new_endpoint_secret()

    async def send() -> None:
        headers = signed_headers(new_id("evt", 1), int(time.time()), body, [secret])
        assert (await sender.post(Message(url, headers, body))).delivered

    try:
        return await calls_per_s(BARE * 8, AT_ONCE, send)
    finally:
        await sender.close()


@asynccontextmanager
async def fresh_relay(folder: Path, name: str) -> AsyncIterator[Relay]:
    """A relay on a new database, without a worker."""
    url = f"sqlite:///{folder / name}"
    await asyncio.to_thread(upgrade, url)
    settings = Settings(
        _env_file=None,
        soniox_api_key="bench-key-that-is-never-used",
        soniox_api_webhook_secret=f"bench-{new_endpoint_secret()}",
        database_url=url,
        relay_allowed_destinations=("127.0.0.1",),
    )
    async with open_relay(settings) as relay:
        yield relay


@asynccontextmanager
async def notifying(relay: Relay, at_once: int) -> AsyncIterator[None]:
    """The notify lane of a real worker."""
    stop = asyncio.Event()
    lane = next(lane for lane in lanes_of(relay) if lane.name == "notify")
    lanes = [replace(lane, at_once=at_once)]
    task = asyncio.create_task(Worker(relay, lanes).run(stop))
    try:
        yield
    finally:
        stop.set()
        await task


async def add_endpoints(relay: Relay, urls: list[str]) -> None:
    """One endpoint for each URL, which hears of its own events only."""
    made = [
        Endpoint(
            id=new_id("ep", relay.clock()),
            owner=f"owner-{number}",
            url=url,
            secret_sealed=relay.vault.seal(new_endpoint_secret()),
            created_at_ms=relay.clock(),
        )
        for number, url in enumerate(urls)
    ]

    async def add(connection: AsyncConnection) -> None:
        for endpoint in made:
            await endpoints.add(connection, endpoint)

    await relay.db.write(add)


async def append(relay: Relay, owners: range) -> None:
    """An event for each of these owners."""
    now_ms = relay.clock()
    made = [
        Event(
            id=new_id("evt", now_ms),
            type="transcription.completed",
            owner=f"owner-{owner}",
            created_at_ms=now_ms,
            body=event_body("transcription.completed", now_ms, DATA),
        )
        for owner in owners
    ]

    async def put(connection: AsyncConnection) -> None:
        await events.append(connection, [Told(event) for event in made])

    await relay.db.write(put, wake=("notify",))


async def delivered(relay: Relay, number: int) -> None:
    """Wait until so many are delivered."""
    table = deliveries.deliveries
    query = select(func.count()).where(table.c.delivered_at_ms.is_not(None))
    while True:
        async with relay.db.read() as connection:
            if (await connection.execute(query)).scalar_one() >= number:
                return
        await asyncio.sleep(0.1)


async def relay_rate(folder: Path, url: str) -> float:
    """Deliveries in a second through the whole lane: claim, read, sign, send, record."""
    async with fresh_relay(folder, "rate.db") as relay:
        await add_endpoints(relay, [url] * 5)
        for _ in range(DELIVERED // 500):
            for _ in range(100):
                await append(relay, range(5))
        started = time.perf_counter()
        async with notifying(relay, AT_ONCE):
            await delivered(relay, DELIVERED)
            return DELIVERED / (time.perf_counter() - started)


async def waits(folder: Path, name: str, urls: list[str]) -> list[int]:
    """Milliseconds from event to delivery for the endpoints that do not hang."""
    async with fresh_relay(folder, name) as relay:
        await add_endpoints(relay, urls)
        step = ENDPOINTS // 4
        async with notifying(relay, 256):
            for number in range(TRICKLE // step):
                due = number * step / TRICKLE_PER_S
                if number == 0:
                    started = time.perf_counter()
                await asyncio.sleep(max(0.0, started + due - time.perf_counter()))
                first = number % 4 * step
                await append(relay, range(first, first + step))
            hanging = sum("/hang" in url for url in urls)
            await delivered(relay, TRICKLE - TRICKLE * hanging // ENDPOINTS)
            table = deliveries.deliveries
            query = select(table.c.delivered_at_ms - table.c.created_at_ms).where(
                table.c.delivered_at_ms.is_not(None)
            )
            async with relay.db.read() as connection:
                return [row[0] for row in (await connection.execute(query)).all()]


async def run(folder: Path, url: str) -> list[Row]:
    """Measure all of it."""
    settle_memory()  # as the process of a relay does
    body = event_body("transcription.completed", 1, DATA)
    plain = await bare_httpx(url, body)
    alone = await bare_sender(url, body)
    ours = await relay_rate(folder, url)
    print(
        f"{AT_ONCE} at once: httpx {plain:.0f}/s, the relay's client alone {alone:.0f}/s, the relay {ours:.0f}/s"
    )
    calm, troubled = [], []
    for number in range(
        ROUNDS
    ):  # in turn, and the better of each counts: other load on the machine comes and goes
        calm.append(p99(await waits(folder, f"calm-{number}.db", [url] * ENDPOINTS)))
        urls = [*[url] * (ENDPOINTS - 1), f"{url}/hang"]
        troubled.append(p99(await waits(folder, f"troubled-{number}.db", urls)))
    best, worst = min(calm), min(troubled)
    print(f"{TRICKLE_PER_S} events/s to {ENDPOINTS} endpoints, p99 {best:.0f} ms; while one hangs {worst:.0f} ms")
    return [
        Row("SQLite: deliveries against bare httpx, 50 at once", ours / plain, limit=5),
        Row("SQLite: deliveries against the relay's own client without a database", ours / alone, limit=0.25),
        Row("p99 of 99 endpoints while one hangs against none hanging", worst / best, limit=1.1, at_least=False),
    ]


def p99(found: list[int]) -> float:
    """What 99 of 100 do not exceed."""
    return statistics.quantiles(found, n=100)[98]


def rows() -> list[Row]:
    """Run all of it."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory() as folder, beside(Sink) as url, contextlib.chdir(folder):
        return asyncio.run(run(Path(folder), url))


if __name__ == "__main__":
    show(rows())
