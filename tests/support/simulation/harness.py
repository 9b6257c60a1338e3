"""A simulation on one event loop that stands still between two calls: the double, receivers, a database.

No worker runs in it. Whoever holds it claims rows and runs steps, and can have the process die or stand still in
the middle. The double's own webhooks are all dropped: they are delivered by hand, when and as often as wanted.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from fastapi import FastAPI
from sqlmodel import select
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service import webhook
from service.api import errors
from service.api.middleware import RequestMiddleware
from service.crypto import new_endpoint_secret
from service.db.database import Database, open_database
from service.db.notify import Notifier
from service.downstream.client import DeliveryClient
from service.downstream.ssrf import AddressGuard
from service.http_client import new_client
from service.queues import queues_of
from service.rate_limits import AnonymousRateLimiter
from service.sandbox.context import SandboxContext
from service.sandbox.faults import Faults
from service.sandbox.state import SandboxConfig
from service.settings import WEBHOOK_PATH, Settings
from service.store import claims, endpoints
from service.store.claims import Claimant
from service.tables import Endpoint, Event, File, Passage, Transcript, TranscriptChunk, Transcription, table_of
from service.worker import LEASE_MS, Queue
from tests.support.receiver import Received
from tests.support.relay_app import Neighbours, settings_for
from tests.support.simulation import witness
from tests.support.simulation.model import RESULTS, Creation, Sight
from tests.support.simulation.process import Death, Fuse, Process, Ticking, new_process
from tests.support.waiting import until

OWNER = "key-of-the-tests"
BEGINNING_MS = 1_800_000_000_000
ENDPOINTS = ("/a", "/b")
GRACE_S = 30.0
OF_A_JOB = (Transcript, TranscriptChunk, Passage, File)  # what DELETE must take along


INSTANT = SandboxConfig(recognise="script", processing_ms=0, requests_per_minute=None)


@asynccontextmanager
async def one_client() -> AsyncIterator[httpx.AsyncClient]:
    """The client that all processes share: each new one would open connections of its own."""
    client = new_client(headers={"Authorization": "Bearer sandbox-key"}, connections=64)
    try:
        yield client
    finally:
        await client.aclose()


@dataclass
class Sleeper:
    """A process that stands still in the middle of a step."""

    process: Process
    task: asyncio.Task[None]


@dataclass
class Simulation:
    """One database and the processes on it, one after the other."""

    neighbours: Neighbours
    settings: Settings
    db: Database
    clock: Ticking
    sender: DeliveryClient
    hook: httpx.AsyncClient
    state: dict[str, Any]  # what the webhook route finds
    sleepers: list[Sleeper] = field(default_factory=list)
    processes: list[Process] = field(default_factory=list)
    answers: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))  # by path, then 200
    counts: Counter[str] = field(default_factory=Counter)
    seen: int = 0  # notes of the witness

    @property
    def process(self) -> Process:
        """The one at work."""
        return self.processes[-1]

    @property
    def desk(self) -> SandboxContext:
        """The inside of Soniox."""
        return self.neighbours.desk

    def start_process(self) -> None:
        """The next one, with nothing in its memory."""
        name = f"process-{len(self.processes)}"
        self.processes.append(new_process(name, self.settings, self.db, self.clock, self.sender))
        self.state["relay"] = self.process.relay

    def faults(self, **knobs: Any) -> None:
        """Turn Soniox's knobs; those not named are off."""
        self.desk.faults.set(Faults.model_validate({"drop_webhook": True, **knobs}))

    async def run(self, step: Awaitable[None], fuse: Fuse | None = None) -> str:
        """Run a step with a fuse: how it ended. A process that died or stands still is replaced."""
        armed = self.process.fuse
        if fuse:
            armed.at, armed.when, armed.how = fuse.at, fuse.when, fuse.how
        task = asyncio.ensure_future(step)
        stopping = asyncio.ensure_future(armed.stopped.wait())
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        armed.at = 0
        if not task.done():
            self.sleepers.append(Sleeper(self.process, task))
            self.start_process()
            return "stopped"
        if isinstance(task.exception(), Death):
            self.start_process()
            return "died"
        task.result()
        return "done"

    async def wake(self, sleeper: Sleeper, *, kill: bool = False) -> None:
        """It goes on where it stood, however late it is meanwhile; or it never does."""
        self.sleepers.remove(sleeper)
        self.counts["killed asleep" if kill else "woken"] += 1
        sleeper.process.fuse.killed = kill
        sleeper.process.fuse.may_go_on.set()
        try:
            await sleeper.task
        except Death:
            assert kill

    async def claim(self, name: str, limit: int) -> tuple[Queue, list[Any]]:
        """What the worker's own queue would take now."""
        relay = self.process.relay
        queue = next(queue for queue in queues_of(relay) if queue.name == name)
        if not queue.is_enabled():
            return queue, []
        claimant = Claimant(relay.process_id, self.clock(), LEASE_MS)
        rows = list(await self.db.write(lambda session: queue.claim(session, claimant, limit)))
        for row in rows:
            relay.leases.hold(row.id, claimant.now_ms + LEASE_MS)
        return queue, rows

    async def work(self, name: str, limit: int = 1, fuse: Fuse | None = None) -> list[str]:
        """Claim and run steps in turn; how each ended. After a death the others are left as claimed."""
        queue, rows = await self.claim(name, limit)
        ends: list[str] = []
        for row in rows:
            if set(ends) - {"done"}:
                break
            process = self.process
            ends.append(await self.run(queue.step(process.relay, row), fuse))
            process.relay.leases.drop(row.id)
            await self.soniox_is_idle()
        self.counts.update(f"{name} {end}" for end in ends)
        return ends

    async def end_leases(self) -> None:
        """What the only process does when it starts: whoever held a lease is dead."""
        for model in {queue.model for queue in queues_of(self.process.relay)}:
            await self.db.write(lambda session: claims.release(session, model, None, self.clock()))  # noqa: B023  # awaited at once

    async def soniox_is_idle(self) -> None:
        """Wait until the double has done all that it will do by itself."""

        def is_idle() -> bool:
            return not any(
                job.status in {"queued", "processing"} and not job.script.stuck for job in self.living()
            )

        await until(is_idle, within_s=10, every_s=0.0005)

    def living(self) -> list[Any]:
        """The transcriptions that lie at Soniox."""
        return list(self.desk.soniox.transcriptions.values())

    async def post_webhook(self, url: str, secret: str, soniox_id: str, status: str) -> int:
        """One webhook, as Soniox or as a stranger."""
        parts = urlsplit(url)
        answer = await self.hook.post(
            f"{parts.path}?{parts.query}",
            json={"id": soniox_id, "status": status},
            headers={self.settings.soniox_api_webhook_header: secret},
        )
        return answer.status_code

    async def rows(self, model: Any) -> list[Any]:
        """Every row of a table."""
        return await self.db.read(lambda session: list(session.exec(select(model))))

    async def sight(self) -> Sight:
        """Everything that counts."""
        notes = await self.db.read(lambda session: witness.notes_since(session, self.seen))
        jobs, events = await self.rows(Transcription), await self.rows(Event)
        transcripts = {row.transcription_id: row.digest for row in await self.rows(Transcript)}
        kept = {name for model in OF_A_JOB for name in await self._jobs_named_in(model)}
        self.seen = notes[-1].seq if notes else self.seen
        return Sight(
            notes=notes,
            jobs=jobs,
            events=events,
            results={
                job.id: (transcripts[job.id], job.soniox_id, job.finished_at_ms)
                for job in jobs
                if job.id in transcripts
            },
            leftovers=kept | {event.transcription_id for event in events if event.type in RESULTS},
            creations=[_creation(job) for job in self.desk.soniox.created.values()],
            references=[file.client_reference_id or "" for file in self.desk.soniox.files.values()],
            received=[
                (one.path, one.headers["webhook-id"], one.body) for one in self.neighbours.receiver.requests
            ],
        )

    async def _jobs_named_in(self, model: Any) -> set[str]:
        named = select(table_of(model).c.transcription_id).distinct()
        return {name for name in await self.db.read(lambda session: session.exec(named).all()) if name}

    def answer(self, request: Received) -> Response:
        """How the receivers answer."""
        waiting = self.answers[request.path]
        return Response(status_code=waiting.pop(0) if waiting else 200)


def _creation(job: Any) -> Creation:
    query = parse_qs(urlsplit(job.request.webhook_url).query)
    return Creation(job.id, query["job"][0], vanished=job.script.vanish)


@asynccontextmanager
async def open_simulation(neighbours: Neighbours, database_url: str, clock: Ticking) -> AsyncIterator[Simulation]:
    """A simulation with nothing in it but two endpoints that want to hear of everything."""
    settings = settings_for(
        database_url,
        neighbours.soniox_url,
        8000,
        relay_reconcile_interval_s=10.0,
        relay_reconcile_grace_s=GRACE_S,
        relay_delivery_schedule_s=(5.0, 60.0),
    )
    await neighbours.reset()
    app = FastAPI()
    state: dict[str, Any] = {"anonymous_limiter": AnonymousRateLimiter(0), "webhook_calls": webhook.recent_calls()}
    app.add_middleware(RequestMiddleware)
    errors.install(app)
    app.add_route(WEBHOOK_PATH, webhook.receive, methods=["POST"])

    async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "state": dict(state)}, receive, send)

    transport = httpx.ASGITransport(with_state, raise_app_exceptions=False)
    hook = httpx.AsyncClient(transport=transport, base_url="http://relay")
    sender = DeliveryClient(AddressGuard(settings.relay_allowed_destinations), settings.relay_delivery_timeout_s)
    async with open_database(database_url, Notifier()) as db:
        simulation = Simulation(neighbours, settings, db, clock, sender, hook, state)
        neighbours.receiver.answer = simulation.answer
        simulation.faults()
        simulation.start_process()
        try:
            await db.write(witness.install)
            for path in ENDPOINTS:
                await _subscribe(simulation, path)
            yield simulation
        finally:
            for sleeper in list(simulation.sleepers):
                await simulation.wake(sleeper, kill=True)
            await sender.close()
            await hook.aclose()


async def _subscribe(simulation: Simulation, path: str) -> None:
    endpoint = Endpoint(
        id=f"ep_{path[1:]}",
        owner=OWNER,
        url=simulation.neighbours.receiver_url + path,
        secret_encrypted=simulation.process.relay.secret_box.encrypt(new_endpoint_secret()),
        created_at_ms=simulation.clock(),
    )
    await simulation.db.write(lambda session: endpoints.add(session, endpoint))
