"""Everything in one process: the Soniox double, a receiver, the relay on a database of its own, and a client.

The double and the receiver are started once per test process and reset for each test. Every server is a real
uvicorn on a port of its own.
"""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
from fastapi import FastAPI

from service.app import create_app
from service.db.schema import upgrade
from service.relay import Relay
from service.sandbox.app import create_sandbox
from service.sandbox.context import SandboxContext
from service.sandbox.state import SandboxConfig
from service.server import TimeoutHttpProtocol
from service.settings import Settings
from tests.support.postgres import aside
from tests.support.receiver import Receiver
from tests.support.servers import Server, http_client, listen, serving
from tests.support.waiting import until

T = TypeVar("T")

MASTER_SECRET = "master-secret-of-the-tests-0001"
ADMIN_KEY = "admin-key-of-the-tests-00000001"
AUDIO = "https://sandbox.invalid/tokens=12"  # the double makes up a transcript for hosts that cannot exist
MODEL = "stt-async-v5"
QUICK = SandboxConfig(recognise="script", processing_ms=10, requests_per_minute=None)


@dataclass
class Neighbours:
    """What is not the relay's: the Soniox double and a receiver."""

    soniox: httpx.AsyncClient
    soniox_url: str
    desk: SandboxContext
    receiver: Receiver
    receiver_url: str
    in_use: bool = False

    async def reset(self) -> None:
        """Forget everything that came, and answer as usual."""
        await self.desk.reset()
        self.receiver.reset()


@asynccontextmanager
async def open_neighbours(sandbox: SandboxConfig = QUICK) -> AsyncIterator[Neighbours]:
    """Serve them until the block ends."""
    receiver, app = Receiver(), create_sandbox(sandbox)
    headers = {"Authorization": "Bearer sandbox-key"}
    async with (
        serving(app) as soniox,
        serving(receiver.app()) as downstream,
        http_client(soniox.url, headers=headers) as client,
    ):
        yield Neighbours(client, soniox.url, app.state.desk, receiver, downstream.url)


class SharedNeighbours:
    """Those of the test session; whoever finds them taken, or wants another double, gets its own."""

    of_session: Neighbours | None = None

    @classmethod
    @asynccontextmanager
    async def borrow(cls, sandbox: SandboxConfig | None) -> AsyncIterator[Neighbours]:
        """Neighbours that know nothing yet."""
        shared = cls.of_session
        if sandbox is not None or shared is None or shared.in_use:
            async with open_neighbours(sandbox or QUICK) as own:
                yield own
            return
        shared.in_use = True
        try:
            await shared.reset()
            yield shared
        finally:
            shared.in_use = False


@dataclass
class RelayApp:
    """The parts, as a test uses them."""

    client: httpx.AsyncClient
    relay: Relay
    server: Server
    neighbours: Neighbours

    @property
    def soniox(self) -> httpx.AsyncClient:
        """A client of the double."""
        return self.neighbours.soniox

    @property
    def receiver(self) -> Receiver:
        """What downstream systems got."""
        return self.neighbours.receiver

    @property
    def receiver_url(self) -> str:
        """Where the receiver listens."""
        return self.neighbours.receiver_url

    async def submit(self, **fields: Any) -> dict[str, Any]:
        """Submit by URL; gives back the Transcription object."""
        body = {"model": MODEL, "audio_url": AUDIO, **fields}
        answer = await self.client.post("/v1/transcriptions", json=body)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def finished(self, transcription_id: str, within_s: float = 30) -> dict[str, Any]:
        """The transcription once it has ended."""
        answer = await self.client.get(f"/v1/transcriptions/{transcription_id}", params={"wait": within_s})
        assert answer.status_code == 200, answer.text
        job = dict(answer.json())
        assert job["status"] in {"completed", "error"}, f"still {job['stage']}: {job['timeline']}"
        return job

    async def faults(self, **knobs: Any) -> None:
        """Turn the double's knobs; those not named are off."""
        answer = await self.soniox.put("/_sandbox/faults", json=knobs)
        assert answer.status_code == 200, answer.text

    async def at_soniox(self) -> dict[str, Any]:
        """What the double counts."""
        return dict((await self.soniox.get("/_sandbox/state")).json())

    async def created_at_soniox(self) -> list[dict[str, Any]]:
        """Every transcription ever created there, deleted ones too."""
        return list((await self.soniox.get("/_sandbox/transcriptions")).json()["transcriptions"])

    async def add_endpoint(self, path: str = "/events", **fields: Any) -> dict[str, Any]:
        """Subscribe the receiver."""
        answer = await self.client.post("/v1/endpoints", json={"url": self.receiver_url + path, **fields})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def until(self, condition: Callable[[], Awaitable[bool]], within_s: float = 30) -> None:
        """Wait for something to become true."""
        await until(condition, within_s)

    async def until_soniox_is_empty(self) -> None:
        """Wait for the clean-up."""

        async def is_empty() -> bool:
            counts = (await self.at_soniox())["counts"]
            return bool(counts["transcriptions"] == 0 and counts["files"] == 0)

        await until(is_empty)

    async def until_received(self, path: str, number: int = 1, within_s: float = 30) -> None:
        """Wait for that many requests at the receiver."""
        await until(lambda: len(self.receiver.at(path)) >= number, within_s)


def settings_for(database_url: str, soniox_url: str, port: int, **changes: Any) -> Settings:
    """Settings for a relay in a test: quick, loopback allowed, no `.env` read."""
    values: dict[str, Any] = {
        "soniox_api_key": "sandbox-key",
        "soniox_api_base_url": soniox_url,
        "soniox_api_webhook_secret": MASTER_SECRET,
        "relay_api_key": ADMIN_KEY,
        "database_url": database_url,
        "port": port,
        "relay_allowed_destinations": ("127.0.0.1",),
        "relay_reconcile_interval_s": 0.3,
        "relay_reconcile_grace_s": 30.0,
        "relay_max_requests_per_minute": 100_000,
        "relay_delivery_schedule_s": (0.05, 0.05, 0.05),
        **changes,
    }
    return Settings(_env_file=None, **values)


@asynccontextmanager
async def serving_relay(app: FastAPI, listener: socket.socket) -> AsyncIterator[tuple[Server, httpx.AsyncClient]]:
    """The relay's application under its own server, with a client that holds the admin key."""
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    async with (
        serving(app, listener=listener, http=TimeoutHttpProtocol) as server,
        http_client(server.url, headers=headers, timeout=70) as client,
    ):
        yield server, client


@asynccontextmanager
async def open_relay_app(
    database_url: str, sandbox: SandboxConfig | None = None, *, with_worker: bool = True, **changes: Any
) -> AsyncIterator[RelayApp]:
    """Start everything; `changes` are settings of the relay. A `sandbox` of its own is started if given."""
    async with AsyncExitStack() as stack:
        neighbours = await stack.enter_async_context(SharedNeighbours.borrow(sandbox))
        listener = stack.enter_context(listen())
        settings = settings_for(database_url, neighbours.soniox_url, listener.getsockname()[1], **changes)
        app = create_app(settings, with_worker=with_worker)
        server, client = await stack.enter_async_context(serving_relay(app, listener))
        yield RelayApp(client, server.lifespan.state["relay"], server, neighbours)


@dataclass
class ThreadedRelayApp:
    """A relay app in a thread of its own, for tests that block: a browser's, the command line's."""

    relay_app: RelayApp
    loop: asyncio.AbstractEventLoop
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        """Where the relay listens."""
        return self.relay_app.server.url

    def do(self, action: Callable[[RelayApp], Awaitable[T]], within_s: float = 30) -> T:
        """Run `action` in the relay's thread and wait for what it gives back."""

        async def run() -> T:
            return await action(self.relay_app)

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(within_s)


@contextmanager
def relay_app_in_thread(database_url: str, **settings: Any) -> Iterator[ThreadedRelayApp]:
    """A relay on a migrated database with neighbours of its own; `settings` are the relay's."""
    opened: list[ThreadedRelayApp] = []
    is_open = threading.Event()

    async def live() -> None:
        async with open_relay_app(database_url, QUICK, **settings) as relay_app:
            threaded = ThreadedRelayApp(relay_app, asyncio.get_running_loop())
            opened.append(threaded)
            is_open.set()
            await threaded.over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(live()), daemon=True)
    thread.start()
    assert is_open.wait(30), "the relay did not start"
    try:
        yield opened[0]
    finally:
        opened[0].loop.call_soon_threadsafe(opened[0].over.set)
        thread.join(20)


def new_sqlite(folder: Path) -> str:
    """The URL of a new, migrated file in `folder`."""
    url = f"sqlite:///{folder / 'relay.db'}"
    aside(upgrade, url)
    return url


def as_json(body: bytes) -> Any:
    """The document in a request."""
    return json.loads(body)
