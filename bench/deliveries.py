"""How quickly events are delivered, beside the same requests without a database: `python -m bench.deliveries`.

All of it is on SQLite with durable commits, with 50 requests at once to a receiver that answers at once. Then
events trickle, in turn, to a relay with 100 endpoints and to one of whose 100 one hangs all the time.
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
from statistics import median

import httpx
import structlog
from sqlalchemy import and_
from sqlmodel import Session, select

from bench.neighbour import beside
from bench.rate import calls_per_s, ratio
from bench.sink import Sink
from bench.table import Row, show
from service.app import settle_memory
from service.crypto import new_endpoint_secret
from service.db.schema import upgrade
from service.downstream.client import DeliveryClient
from service.downstream.messages import Message, signed_headers
from service.downstream.ssrf import AddressGuard
from service.event_types import COMPLETED, event_body
from service.ids import new_id
from service.queues import queues_of
from service.relay import Relay, open_relay
from service.schemas import Open
from service.settings import Settings
from service.store import deliveries, endpoints, events
from service.store.events import EventDraft
from service.tables import Endpoint, Event
from service.worker import Worker

AT_ONCE = 50
BARE = 100
DELIVERED = 2_000
ROUNDS = 3
ENDPOINTS = 100
TRICKLE = 300  # deliveries in turn
TRICKLE_PER_S = 150  # far below what it can do: waits are compared, not queues
TURNS = 8
HANGS_FOR_S = 120  # longer than it takes
DATA = {"id": "0b7f9c3e-6c0e-4f0e-9a53-2f0f8f1f7d11", "status": "completed", "metadata": {"text": "x" * 300}}


async def bare_httpx(url: str, body: bytes) -> float:
    """What one would write first."""
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=AT_ONCE)) as client:
        return await calls_per_s(BARE, AT_ONCE, lambda: client.post(url, content=body))


async def bare_sender(url: str, body: bytes) -> float:
    """The relay's client and signatures, without a database."""
    sender, secret = DeliveryClient(AddressGuard(("127.0.0.1",)), 15), new_endpoint_secret()

    async def send() -> None:
        headers = signed_headers(new_id("evt", 1), int(time.time()), body, [secret])
        assert (await sender.post(Message(url, headers, body))).delivered

    try:
        return await calls_per_s(BARE * 20, AT_ONCE, send)
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
        relay_delivery_timeout_s=HANGS_FOR_S,
    )
    async with open_relay(settings) as relay:
        yield relay


@asynccontextmanager
async def notifying(relay: Relay, concurrency: int) -> AsyncIterator[None]:
    """The notify queue of a real worker."""
    stop = asyncio.Event()
    queue = next(queue for queue in queues_of(relay) if queue.name == "deliver")
    queues = [replace(queue, concurrency=concurrency)]
    task = asyncio.create_task(Worker(relay, queues).run(stop))
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
            secret_encrypted=relay.secret_box.encrypt(new_endpoint_secret()),
            created_at_ms=relay.clock(),
        )
        for number, url in enumerate(urls)
    ]

    def add(session: Session) -> None:
        for endpoint in made:
            endpoints.add(session, endpoint)

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
            body=event_body(COMPLETED, now_ms, Open.model_validate(DATA)),
        )
        for owner in owners
    ]

    def put(session: Session) -> None:
        for event in made:
            events.append(session, EventDraft(event))

    await relay.db.write(put, wake=("deliver",))


async def delivered(relay: Relay, number: int, since_ms: int) -> list[int]:
    """Wait until so many are delivered of what was created since; milliseconds from event to delivery of each."""
    table = deliveries.deliveries
    since = and_(table.c.delivered_at_ms.is_not(None), table.c.created_at_ms >= since_ms)
    query = select(table.c.delivered_at_ms - table.c.created_at_ms).where(since)
    while True:
        waits = await relay.db.read(lambda session: session.exec(query).all())
        if len(waits) >= number:
            return list(waits)
        await asyncio.sleep(0.1)


async def relay_rate(relay: Relay) -> float:
    """Deliveries in a second through the whole queue: claim, read, sign, send, record."""
    begun_ms = relay.clock()
    for _ in range(DELIVERED // 5):
        await append(relay, range(5))
    started = time.perf_counter()
    async with notifying(relay, AT_ONCE):
        await delivered(relay, DELIVERED, begun_ms)
        return DELIVERED / (time.perf_counter() - started)


async def rates(folder: Path, url: str) -> list[Row]:
    """The relay, its client alone, and httpx, in turn."""
    body = event_body(COMPLETED, 1, Open.model_validate(DATA))
    plain, alone, ours = [], [], []
    async with fresh_relay(folder, "rate.db") as relay:
        await add_endpoints(relay, [url] * 5)
        for _ in range(ROUNDS):
            plain.append(await bare_httpx(url, body))
            ours.append(await relay_rate(relay))
            alone.append(await bare_sender(url, body))
    print(
        f"{AT_ONCE} at once: httpx {median(plain):.0f}/s, the relay's client alone {median(alone):.0f}/s, "
        f"the relay {median(ours):.0f}/s"
    )
    return [
        Row("SQLite: deliveries against bare httpx, 50 at once", ratio(ours, plain), limit=5),
        Row(
            "SQLite: deliveries against the relay's own client without a database", ratio(ours, alone), limit=0.25
        ),
    ]


async def trickle(relay: Relay, hanging: int) -> list[int]:
    """Milliseconds from event to delivery for the endpoints that do not hang."""
    begun_ms, started, step = relay.clock(), time.perf_counter(), ENDPOINTS // 4
    for number in range(TRICKLE // step):
        await asyncio.sleep(max(0.0, started + number * step / TRICKLE_PER_S - time.perf_counter()))
        first = number % 4 * step
        await append(relay, range(first, first + step))
    return await delivered(relay, TRICKLE - TRICKLE * hanging // ENDPOINTS, begun_ms)


async def fairness(folder: Path, url: str) -> list[Row]:
    """Both relays work all the time; events come to one after the other."""
    calm_ms, troubled_ms = [], []
    async with (
        fresh_relay(folder, "calm.db") as calm,
        fresh_relay(folder, "troubled.db") as troubled,
        notifying(calm, 256),
        notifying(troubled, 256),
    ):
        await add_endpoints(calm, [url] * ENDPOINTS)
        await add_endpoints(troubled, [*[url] * (ENDPOINTS - 1), f"{url}/hang"])
        await trickle(calm, 0)  # connections are made
        await trickle(troubled, 1)
        for _ in range(TURNS):
            calm_ms.append(p99(await trickle(calm, 0)))
            troubled_ms.append(p99(await trickle(troubled, 1)))
    print(
        f"{TRICKLE_PER_S} events/s to {ENDPOINTS} endpoints, p99 {median(calm_ms):.0f} ms; "
        f"while one hangs {median(troubled_ms):.0f} ms"
    )
    what = "p99 of 99 endpoints while one hangs against none hanging"
    return [Row(what, ratio(troubled_ms, calm_ms), limit=1.1, at_least=False)]


def p99(found: list[int]) -> float:
    """What 99 of 100 do not exceed."""
    return statistics.quantiles(found, n=100)[98]


async def run(folder: Path, url: str) -> list[Row]:
    """Measure all of it."""
    settle_memory()  # as the process of a relay does
    return await rates(folder, url) + await fairness(folder, url)


def rows() -> list[Row]:
    """Run all of it."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory() as folder, beside(Sink) as url, contextlib.chdir(folder):
        return asyncio.run(run(Path(folder), url))


if __name__ == "__main__":
    show(rows())
