"""From an inbox row to an accepted notification, beside the same HTTP calls alone: `python -m bench.pipeline`.

For each job: read it, fetch its transcript of 500 tokens, decode, pack and store it with event and delivery, post
the signed notification, delete the transcription at Soniox. The bare loop makes the same four calls for each job
with the relay's clients and no more; and the same worker does all of it with one httpx client.
"""

import asyncio
import logging
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import structlog
import uvloop

from bench.neighbour import beside
from bench.rate import calls_per_s, ratio
from bench.served import ready_databases, settings_of
from bench.table import Row, show
from bench.vendor import Vendor
from service.app import settle_memory
from service.clock import wall_ms
from service.crypto import new_endpoint_secret
from service.db.database import Database
from service.downstream.client import DeliveryClient
from service.downstream.messages import Message, signed_headers
from service.downstream.ssrf import AddressGuard
from service.ids import new_id, new_uuid
from service.lifecycle import Stage
from service.queues import queues_of
from service.relay import Relay, open_relay
from service.soniox.client import Soniox
from service.store import claims, endpoints, inbox
from service.store.inbox import InboxEntry
from service.store.statements import insert_all
from service.tables import Delivery, Endpoint, Removal, Transcription, Webhook
from service.transcripts.codec import pack
from service.worker import Worker

AT_ONCE = 64  # as many as the collect queue has hands
JOBS = 500
BARE_JOBS = 500
HTTPX_JOBS = 100
ROUNDS = 3
FAR_MS = 2**60
BODY = b'{"type":"transcription.completed","timestamp":"2026-01-01T00:00:00Z","data":{"filler":"%b"}}' % (
    b"x" * 600
)


async def bare(url: str, *, with_packing: bool = False) -> float:
    """The same calls with the relay's clients and no database; the transcript is decoded and packed, or not."""

    async def no_permit(_share: str) -> None:
        return

    soniox = Soniox(f"{url}/v1", "key", no_permit, lambda _error: None, lambda *_: None)
    sender, secret = DeliveryClient(AddressGuard(("127.0.0.1",)), 15), new_endpoint_secret()
    soniox_id = new_uuid(1)

    async def one() -> None:
        await soniox.get_transcription(soniox_id)
        transcript = await soniox.get_transcript(soniox_id)
        if with_packing:
            await pack(transcript)
        headers = signed_headers(new_id("evt", 1), int(time.time()), BODY, [secret])
        assert (await sender.post(Message(f"{url}/events", headers, BODY))).delivered
        await soniox.delete_transcription(soniox_id)

    try:
        return await calls_per_s(BARE_JOBS, AT_ONCE, one)
    finally:
        await soniox.close()
        await sender.close()


async def with_one_httpx_client(relay: Relay) -> float:
    """The same jobs through the same worker, whose calls all go through one client on httpx's own connections."""
    ours = relay.soniox._http, relay.delivery_client._http
    headers = {"Authorization": "Bearer key", "Content-Type": "application/json"}
    limits = httpx.Limits(max_connections=AT_ONCE)
    async with httpx.AsyncClient(headers=headers, limits=limits, timeout=60) as client:
        relay.soniox._http = relay.delivery_client._http = client
        try:
            return await through_relay(relay, HTTPX_JOBS)
        finally:
            relay.soniox._http, relay.delivery_client._http = ours


@asynccontextmanager
async def relay_on(database_url: str, url: str) -> AsyncIterator[Relay]:
    """A relay without a worker, with one endpoint that wants everything."""
    settings = settings_of(database_url, soniox_api_base_url=url, relay_max_requests_per_minute=100_000_000)
    async with open_relay(settings) as relay:
        endpoint = Endpoint(
            id=new_id("ep", relay.clock()),
            owner="bench",
            url=f"{url}/events",
            secret_encrypted=relay.secret_box.encrypt(new_endpoint_secret()),
            created_at_ms=relay.clock(),
        )
        await relay.db.write(lambda session: endpoints.add(session, endpoint))
        yield relay
        await relay.db.write(lambda session: endpoints.remove(session, endpoint.id))


async def put_submitted(db: Database, number: int) -> list[str]:
    """So many jobs that are finished at Soniox, and nobody here knows; their ids."""
    now_ms = wall_ms()
    jobs = [
        Transcription(
            id=(one := new_uuid(now_ms)),
            owner="bench",
            stage=Stage.SUBMITTED,
            created_at_ms=now_ms,
            submitted_at_ms=now_ms,
            check_at_ms=now_ms + 3_600_000,
            request={"model": "stt-async-v5", "audio_url": "https://example.com/a.mp3"},
            filename="a.mp3",
            soniox_id=one,
            model="stt-async-v5",
        )
        for _ in range(number)
    ]
    await db.write(lambda session: insert_all(session, jobs))
    return [job.id for job in jobs]


async def prepare(relay: Relay, number: int) -> None:
    """So many jobs at Soniox, and a webhook for each in the inbox."""
    ids, now_ms = await put_submitted(relay.db, number), relay.clock()
    hints = [InboxEntry(new_uuid(now_ms), one, one, "completed", "webhook", now_ms) for one in ids]
    await relay.db.write(lambda session: inbox.record(session, hints))


async def through_relay(relay: Relay, jobs: int) -> float:
    """Jobs in a second through the whole of the worker."""
    await prepare(relay, jobs)
    stop = asyncio.Event()
    started = time.perf_counter()
    working = asyncio.create_task(Worker(relay, queues_of(relay)).run(stop))
    while await _is_any_due(relay):  # noqa: ASYNC110
        await asyncio.sleep(0.05)  # what is awaited happens in the database
    took = time.perf_counter() - started
    stop.set()
    await working
    return jobs / took


async def _is_any_due(relay: Relay) -> bool:
    """True until all webhooks are handled, all notifications accepted, and all is removed at Soniox."""
    due = await relay.db.read(
        lambda session: [claims.is_any_due(session, kind, FAR_MS) for kind in (Webhook, Delivery, Removal)]
    )
    return any(due)


async def measured(database: str, database_url: str, url: str) -> list[Row]:
    """The relay and the others in turn."""
    loop, packing, ours, with_httpx = [], [], [], []
    settle_memory()  # as the process of a relay does
    async with relay_on(database_url, url) as relay:
        await through_relay(relay, JOBS)  # warm
        for _ in range(ROUNDS):
            loop.append(await bare(url))
            packing.append(await bare(url, with_packing=True))
            ours.append(await through_relay(relay, JOBS))
            with_httpx.append(await with_one_httpx_client(relay))
    rate, bare_rate, httpx_rate = map(statistics.median, (ours, loop, with_httpx))
    print(f"{database}: relay {rate:.0f} jobs/s, bare loop {bare_rate:.0f}, one httpx client {httpx_rate:.0f}")
    return [
        Row(f"{database}: jobs finished against a bare loop of the same calls", ratio(ours, loop), limit=0.6),
        Row(f"{database}: against such a loop that also decodes and packs", ratio(ours, packing)),
        Row(f"{database}: against the same worker with one httpx client", ratio(ours, with_httpx), limit=8),
    ]


def rows() -> list[Row]:
    """On both databases."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    found = []
    with beside(Vendor) as url, ready_databases() as urls:
        for database, database_url in urls.items():
            found += uvloop.run(measured(database, database_url, url))
    return found


if __name__ == "__main__":
    show(rows())
