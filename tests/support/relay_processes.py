"""One trial: a relay that dies, a relay that comes back, and the account at the end."""

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from service.cli.demo.household import free_port
from service.clock import wall_ms
from service.db import open_database
from service.sandbox import SandboxConfig, create_sandbox
from service.store import endpoints
from service.tables import Endpoint
from service.vault import Vault, new_endpoint_secret
from service.wakeups import Wakeups
from tests.support.receiver import Receiver
from tests.support.relay_app import ADMIN_KEY, AUDIO, MASTER_SECRET, MODEL
from tests.support.servers import Server, serving

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass
class Account:
    """What must be zero, and how much it is zero of."""

    jobs: int = 0
    kills: int = 0
    lost: int = 0
    doubled: int = 0
    left_at_soniox: int = 0
    events_with_two_ids: int = 0
    jobs_never_told: int = 0

    def is_clean(self) -> bool:
        faults = (self.lost, self.doubled, self.left_at_soniox, self.events_with_two_ids, self.jobs_never_told)
        return not any(faults)


@dataclass
class RelayProcesses:
    """The neighbours, which live on while the relay dies, and the relay's present process."""

    soniox: Server
    receiver: Receiver
    receiver_url: str
    database_url: str
    port: int
    client: httpx.AsyncClient
    relay: asyncio.subprocess.Process | None = None
    submitted: list[str] = field(default_factory=list)
    kills: int = 0

    async def start(self, point: str = "") -> None:
        """Start the relay; with a point it dies there."""
        self.relay = await self.spawn("serve", point=point)

    async def spawn(self, *verb: str, point: str = "", cwd: Path = REPOSITORY) -> asyncio.subprocess.Process:
        """Start one process of the relay in `cwd`, such as `worker`, with short leases."""
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tests.chaos.victim", *verb),
            cwd=cwd,
            env={**os.environ, **self._environment(), "DIE_AT": point},
            stderr=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
        )

    async def died(self, within_s: float) -> bool:
        """True when the relay killed itself in time; it may not end in any other way."""
        assert self.relay is not None
        try:
            await asyncio.wait_for(self.relay.wait(), within_s)
        except TimeoutError:
            return False
        assert self.relay.returncode == -signal.SIGKILL, f"the relay ended with {self.relay.returncode}"
        self.kills += 1
        return True

    async def kill(self) -> None:
        """SIGKILL, from outside."""
        assert self.relay is not None
        if self.relay.returncode is None:
            self.relay.kill()
            self.kills += 1
        await self.relay.wait()

    async def stop(self) -> int:
        """SIGTERM, as an orchestrator would; gives back the exit code."""
        assert self.relay is not None
        if self.relay.returncode is None:
            self.relay.terminate()
        return await asyncio.wait_for(self.relay.wait(), 15)

    async def until_up(self, within_s: float = 20) -> bool:
        """Wait for the relay to listen; False when it died first."""
        assert self.relay is not None
        async with asyncio.timeout(within_s):
            while self.relay.returncode is None:
                try:
                    await self.client.get("/livez")
                except httpx.TransportError:
                    await asyncio.sleep(0.02)
                else:
                    return True
        return False

    async def until_ready(self, within_s: float) -> None:
        """Wait for a worker and the reconciler to give signs of life."""
        async with asyncio.timeout(within_s):
            while (await self.client.get("/readyz")).status_code != 200:  # noqa: ASYNC110  # other processes
                await asyncio.sleep(0.1)

    async def lose_webhooks(self, number: int) -> None:
        """The next webhooks do not arrive, so that only the reconciler can tell."""
        async with httpx.AsyncClient(base_url=self.soniox.url) as control:
            answer = await control.put("/_sandbox/faults", json={"drop_webhook": {"remaining": number}})
            assert answer.status_code == 200, answer.text

    async def submit(self, number: int, *, with_file: bool = False, patience_s: float = 30) -> None:
        """Submit like a careful client: the same Idempotency-Key until there is an answer."""
        headers = {"Idempotency-Key": f"key-{number}"}
        async with asyncio.timeout(patience_s):
            while True:
                try:
                    answer = await self.client.post(
                        "/v1/transcriptions", headers=headers, **_body(with_file=with_file)
                    )
                except httpx.TransportError:
                    await asyncio.sleep(0.05)
                    continue
                if answer.status_code == 201:
                    self.submitted.append(answer.json()["id"])
                    return
                assert answer.status_code == 503, answer.text
                await asyncio.sleep(0.05)

    async def settled(self, within_s: float = 60) -> Account:
        """Wait until everything has ended, then count."""
        try:
            async with asyncio.timeout(within_s):
                while not await self._is_settled():  # noqa: ASYNC110  # other processes settle it
                    await asyncio.sleep(0.1)
        except TimeoutError:
            pass
        return await self._count()

    async def _is_settled(self) -> bool:
        account = await self._count()
        return account.is_clean()

    async def _count(self) -> Account:
        soniox = self.soniox.config.app.state.soniox  # type: ignore[union-attr]
        told = self._ids_told()
        finished = await self._finished()
        return Account(
            jobs=len(self.submitted),
            kills=self.kills,
            lost=len(set(self.submitted) - finished),
            doubled=sum(number - 1 for number in Counter(soniox.creates_by_webhook_url).values()),
            left_at_soniox=len(soniox.transcriptions) + len(soniox.files),
            events_with_two_ids=sum(1 for ids in told.values() if len(ids) > 1),
            jobs_never_told=len(set(self.submitted) - set(told)),
        )

    async def _finished(self) -> set[str]:
        finished: set[str] = set()
        try:
            for transcription_id in self.submitted:
                answer = await self.client.get(f"/v1/transcriptions/{transcription_id}/transcript")
                if answer.status_code == 200 and answer.json()["tokens"]:
                    finished.add(transcription_id)
        except httpx.TransportError:
            pass
        return finished

    def _ids_told(self) -> dict[str, set[str]]:
        """Event ids by job, as the receiver saw them."""
        told: dict[str, set[str]] = {}
        for request in self.receiver.at("/events"):
            document = json.loads(request.body)
            told.setdefault(document["data"]["id"], set()).add(request.headers["webhook-id"])
        return told

    def _environment(self) -> dict[str, str]:
        return {
            "SONIOX_API_KEY": "sandbox-key",
            "SONIOX_API_BASE_URL": self.soniox.url,
            "SONIOX_API_WEBHOOK_SECRET": MASTER_SECRET,
            "RELAY_API_KEY": ADMIN_KEY,
            "DATABASE_URL": self.database_url,
            "PORT": str(self.port),
            "RELAY_ALLOWED_DESTINATIONS": "127.0.0.1",
            "RELAY_RECONCILE_INTERVAL_S": "1",
            "RELAY_RECONCILE_GRACE_S": "1",
            "RELAY_MAX_REQUESTS_PER_MINUTE": "100000",
            "RELAY_DELIVERY_SCHEDULE_S": ",".join(["0.2"] * 50),
            "LOG_LEVEL": "error",
        }


def _body(*, with_file: bool) -> dict[str, Any]:
    if with_file:
        request = json.dumps({"model": MODEL})
        return {"files": {"file": ("tokens=9.wav", b"audio" * 1000), "request": (None, request)}}
    return {"json": {"model": MODEL, "audio_url": AUDIO}}


@asynccontextmanager
async def open_relay_processes(database_url: str) -> AsyncIterator[RelayProcesses]:
    """The double (its webhooks are repeated quickly) and the receiver; the relay is started by the trial."""
    config = SandboxConfig(
        recognise="script", processing_ms=30, requests_per_minute=None, webhook_schedule=(0, 0.5, 1)
    )
    receiver = Receiver()
    port = free_port()
    async with AsyncExitStack() as stack:
        soniox = await stack.enter_async_context(serving(create_sandbox(config)))
        downstream = await stack.enter_async_context(serving(receiver.app()))
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
        client = await stack.enter_async_context(
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=20)
        )
        processes = RelayProcesses(soniox, receiver, downstream.url, database_url, port, client)
        await _subscribe(database_url, f"{downstream.url}/events")
        try:
            yield processes
        finally:
            await processes.kill()


async def _subscribe(database_url: str, url: str) -> None:
    """An endpoint for all events, before any relay runs."""
    endpoint = Endpoint(
        id="ep_chaos",
        owner="bootstrap",
        sees_all=True,
        url=url,
        secret_sealed=Vault([MASTER_SECRET.encode()]).seal(new_endpoint_secret()),
        created_at_ms=wall_ms(),
    )
    async with open_database(database_url, Wakeups()) as database:
        await database.write(lambda connection: endpoints.add(connection, endpoint))
