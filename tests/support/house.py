"""Everything together: the Soniox double, a receiver, the relay on a database of its own, and a client."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from service.app import create_app
from service.cli.connections import BoundedHttp
from service.cli.demo.household import free_port
from service.relay import Relay
from service.sandbox import SandboxConfig, create_sandbox
from service.settings import Settings
from tests.support.receiver import Receiver
from tests.support.servers import Server, serving

MASTER_SECRET = "master-secret-of-the-tests-0001"
ADMIN_KEY = "admin-key-of-the-tests-00000001"
AUDIO = "https://sandbox.invalid/tokens=12"  # the double makes up a transcript for hosts that cannot exist
MODEL = "stt-async-v5"


@dataclass
class House:
    """What a test holds in its hands."""

    client: httpx.AsyncClient
    soniox: httpx.AsyncClient
    receiver: Receiver
    receiver_url: str
    relay: Relay
    server: Server

    async def submit(self, **fields: Any) -> dict[str, Any]:
        """Submit by URL; gives back the Transcription object."""
        body = {"model": MODEL, "audio_url": AUDIO, **fields}
        answer = await self.client.post("/v1/transcriptions", json=body)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def finished(self, transcription_id: str, within_s: float = 15) -> dict[str, Any]:
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

    async def until(self, condition: Callable[[], Awaitable[bool]], within_s: float = 15) -> None:
        """Wait for something to become true."""
        async with asyncio.timeout(within_s):
            while not await condition():  # noqa: ASYNC110  # what is awaited happens in other processes
                await asyncio.sleep(0.02)

    async def until_soniox_is_empty(self) -> None:
        """Wait for the clean-up."""

        async def is_empty() -> bool:
            counts = (await self.at_soniox())["counts"]
            return counts["transcriptions"] == 0 and counts["files"] == 0

        await self.until(is_empty)

    async def until_received(self, path: str, number: int = 1, within_s: float = 15) -> None:
        """Wait for that many requests at the receiver."""

        async def are_there() -> bool:
            return len(self.receiver.at(path)) >= number

        await self.until(are_there, within_s)


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
async def open_house(
    database_url: str, sandbox: SandboxConfig | None = None, **changes: Any
) -> AsyncIterator[House]:
    """Start everything; `changes` are settings of the relay."""
    quick = sandbox or SandboxConfig(recognise="script", processing_ms=10, requests_per_minute=None)
    receiver = Receiver()
    async with AsyncExitStack() as stack:
        soniox = await stack.enter_async_context(serving(create_sandbox(quick)))
        downstream = await stack.enter_async_context(serving(receiver.app()))
        settings = settings_for(database_url, soniox.url, free_port(), **changes)
        app = create_app(settings)
        server = await stack.enter_async_context(serving(app, settings.port, http=BoundedHttp))
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
        client = await stack.enter_async_context(
            httpx.AsyncClient(base_url=server.url, headers=headers, timeout=70)
        )
        direct = await stack.enter_async_context(
            httpx.AsyncClient(base_url=soniox.url, headers={"Authorization": "Bearer sandbox-key"})
        )
        yield House(client, direct, receiver, downstream.url, app.state.relay, server)


def as_json(body: bytes) -> Any:
    """The document in a request."""
    return json.loads(body)
