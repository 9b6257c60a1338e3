"""The relay as real processes that are killed, stopped and started again beside the Soniox double and a receiver.

`RelayProcesses` forks its processes from one that has imported the application, so that a start takes no imports.
`relay_process` is one relay as users run it: a command of its own, with its log in a file.
"""

import asyncio
import contextlib
import itertools
import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx

from service.clock import wall_ms
from service.crypto import SecretBox, new_endpoint_secret
from service.db.database import open_database
from service.db.notify import Notifier
from service.sandbox.state import SandboxConfig
from service.store import endpoints
from service.tables import Endpoint
from tests.chaos.forking import fork
from tests.support.relay_app import ADMIN_KEY, AUDIO, MASTER_SECRET, MODEL, Neighbours, open_neighbours
from tests.support.servers import http_client
from tests.support.waiting import until

REPOSITORY = Path(__file__).resolve().parents[2]
BARE = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
QUICK_RETRIES = SandboxConfig(
    recognise="script", processing_ms=30, requests_per_minute=None, webhook_schedule=(0, 0.5, 1)
)
WITH_SHORT_LEASES = """
import service.__main__, service.worker
service.worker.LEASE_MS, service.worker.RENEW_EVERY_S = 4_000, 1.0
service.__main__.main()
"""  # a release that is older than this file need not know the names in `tests.chaos.child`
SWEEP_INTERVAL_S = 1
START_WITHIN_S = 60  # on a machine that is busy with four of them
LONGEST_END_S = 15  # of a process that was told to stop
LOG = "relay.log"
SHOWN_OF_A_LOG = 4_000  # characters


class Process(Protocol):
    """What a test needs of a process; those of asyncio have it."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    def kill(self) -> None: ...

    def terminate(self) -> None: ...

    async def wait(self) -> int: ...


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
        """True if nothing was lost or done twice."""
        faults = (self.lost, self.doubled, self.left_at_soniox, self.events_with_two_ids, self.jobs_never_told)
        return not any(faults)


@dataclass
class RelayProcesses:
    """The neighbours, which live on while processes of the relay end, and the one that serves at present."""

    neighbours: Neighbours
    database_url: str
    port: int
    client: httpx.AsyncClient
    folder: Path  # where the processes run, with their logs in it
    relay: Process | None = None
    submitted: list[str] = field(default_factory=list)
    kills: int = 0
    _started: list[tuple[Process, Path]] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    async def start(self, point: str = "") -> None:
        """Start the relay; with a point it kills itself there."""
        self.relay = await self.spawn("serve", point=point)

    async def spawn(self, *verb: str, point: str = "") -> Process:
        """Start one process of the relay, such as `worker`, with short leases."""
        log = self._new_log()
        process = await fork(verb, {**os.environ, **self._settings()}, self.folder, log, point)
        self._started.append((process, log))
        return process

    async def spawn_release(self, release: Path, *verb: str) -> Process:
        """Start one process of the code in that folder, with short leases."""
        if release == REPOSITORY:
            return await self.spawn(*verb)
        log = self._new_log()
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", WITH_SHORT_LEASES, *verb),
                cwd=self.folder,
                env={**os.environ, **self._settings(), "PYTHONPATH": str(release)},
                stdout=output,
                stderr=output,
            )
        self._started.append((process, log))
        return process

    async def died(self, within_s: float) -> bool:
        """True when the relay killed itself in time; it may not end in any other way."""
        relay = self._relay()
        try:
            await until(lambda: relay.returncode is not None, within_s)
        except TimeoutError:
            return False
        assert relay.returncode == -signal.SIGKILL, f"the relay ended with {relay.returncode}:\n{self.logged()}"
        self.kills += 1
        return True

    async def kill(self) -> None:
        """SIGKILL, from outside."""
        relay = self._relay()
        if relay.returncode is None:
            relay.kill()
            self.kills += 1
        await relay.wait()

    async def stop(self) -> int:
        """SIGTERM, as an orchestrator would; gives back the exit code."""
        relay = self._relay()
        if relay.returncode is None:
            relay.terminate()
        return await asyncio.wait_for(relay.wait(), LONGEST_END_S)

    async def end(self) -> None:
        """Kill whatever runs."""
        for process, _ in self._started:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def until_up(self, within_s: float = START_WITHIN_S) -> None:
        """Wait for the relay to listen; a relay that ends instead is an error."""
        relay = self._relay()

        async def is_up() -> bool:
            assert relay.returncode is None, f"the relay ended with {relay.returncode}:\n{self.logged()}"
            return await answers(self.client)

        await until(is_up, within_s)

    async def until_ready(self, within_s: float) -> None:
        """Wait for a worker and the reconciler to give signs of life."""

        async def is_ready() -> bool:
            return (await self.client.get("/readyz")).status_code == 200

        await until(is_ready, within_s)

    async def until_created(self, number: int, within_s: float = 60) -> None:
        """Wait until that many jobs were created at Soniox."""
        await until(lambda: len(self.neighbours.desk.soniox.created) >= number, within_s)

    async def lose_webhooks(self, number: int) -> None:
        """The next webhooks do not arrive, so that only the reconciler can tell."""
        await self.faults(drop_webhook={"remaining": number})

    async def faults(self, **knobs: Any) -> None:
        """Turn the double's knobs; those not named are off."""
        answer = await self.neighbours.soniox.put("/_sandbox/faults", json=knobs)
        assert answer.status_code == 200, answer.text

    async def submit(
        self,
        number: int,
        *,
        with_file: bool = False,
        patience_s: float = 30,
        client: httpx.AsyncClient | None = None,
    ) -> None:
        """Submit like a careful client: the same Idempotency-Key until there is an answer."""

        async def is_accepted() -> bool:
            return await self._accepted(client or self.client, number, with_file=with_file)

        await until(is_accepted, patience_s)

    async def submit_many(self, first: int, number: int, patience_s: float = 60) -> None:
        """Submit jobs `first` to `first + number - 1` at the same time."""
        places = range(first, first + number)
        await asyncio.gather(*(self.submit(place, patience_s=patience_s) for place in places))

    async def settled(self, within_s: float = 60) -> Account:
        """Wait until everything has ended, then count."""

        async def is_settled() -> bool:
            return await self._is_quiet() and (await self._count()).is_clean()

        with contextlib.suppress(TimeoutError):  # the account tells what is missing
            await until(is_settled, within_s)
        return await self._count()

    def logged(self) -> str:
        """The end of what the relay wrote."""
        relay = self._relay()
        (log,) = (log for process, log in self._started if process is relay)
        return log.read_text("utf-8", "replace")[-SHOWN_OF_A_LOG:]

    async def _accepted(self, client: httpx.AsyncClient, number: int, *, with_file: bool) -> bool:
        headers = {"Idempotency-Key": f"key-{number}"}
        try:
            answer = await client.post("/v1/transcriptions", headers=headers, **_body(with_file=with_file))
        except httpx.TransportError:
            return False
        assert answer.status_code in {201, 503}, answer.text
        if answer.status_code == 201:
            self.submitted.append(answer.json()["id"])
        return answer.status_code == 201

    async def _is_quiet(self) -> bool:
        """True if nothing seems to be missing: cheap questions, since they are asked again and again."""
        jobs = set(self.submitted)
        if self._left_at_soniox() or len(self.neighbours.receiver.at("/events")) < len(jobs):
            return False
        try:
            completed = await self.client.get("/v1/transcriptions/count", params={"status": "completed"})
        except httpx.TransportError:
            return False
        return (
            completed.status_code == 200 and completed.json()["total"] >= len(jobs) and jobs <= set(self._told())
        )

    async def _count(self) -> Account:
        created = self.neighbours.desk.soniox.creates_by_webhook_url
        told = self._told()
        finished = await self._finished()
        return Account(
            jobs=len(self.submitted),
            kills=self.kills,
            lost=len(set(self.submitted) - finished),
            doubled=sum(number - 1 for number in created.values()),
            left_at_soniox=self._left_at_soniox(),
            events_with_two_ids=sum(1 for ids in told.values() if len(ids) > 1),
            jobs_never_told=len(set(self.submitted) - set(told)),
        )

    def _left_at_soniox(self) -> int:
        soniox = self.neighbours.desk.soniox
        return len(soniox.transcriptions) + len(soniox.files)

    async def _finished(self) -> set[str]:
        """The jobs whose transcript can be read."""
        finished: set[str] = set()
        try:
            for transcription_id in self.submitted:
                answer = await self.client.get(f"/v1/transcriptions/{transcription_id}/transcript")
                if answer.status_code == 200 and answer.json()["tokens"]:
                    finished.add(transcription_id)
        except httpx.TransportError:
            pass
        return finished

    def _told(self) -> dict[str, set[str]]:
        """Event ids by job, as the receiver saw them."""
        told: dict[str, set[str]] = {}
        for request in self.neighbours.receiver.at("/events"):
            document = json.loads(request.body)
            told.setdefault(document["data"]["id"], set()).add(request.headers["webhook-id"])
        return told

    def _relay(self) -> Process:
        assert self.relay is not None
        return self.relay

    def _new_log(self) -> Path:
        return self.folder / f"relay-{next(self._numbers)}.log"

    def _settings(self) -> dict[str, str]:
        return {
            "SONIOX_API_KEY": "sandbox-key",
            "SONIOX_API_BASE_URL": self.neighbours.soniox_url,
            "SONIOX_API_WEBHOOK_SECRET": MASTER_SECRET,
            "RELAY_API_KEY": ADMIN_KEY,
            "DATABASE_URL": self.database_url,
            "PORT": str(self.port),
            "RELAY_ALLOWED_DESTINATIONS": "127.0.0.1",
            "RELAY_RECONCILE_INTERVAL_S": str(SWEEP_INTERVAL_S),
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


@contextmanager
def reserved_port() -> Iterator[int]:
    """A port that nobody else is given until the block ends, also while no process of ours listens on it.

    On Linux a socket that is bound and does not listen keeps a port from being given away, and lets a server
    that names the port have it.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        port = int(holder.getsockname()[1])
        if sys.platform != "linux":
            holder.close()
        yield port


async def answers(client: httpx.AsyncClient, path: str = "/livez") -> bool:
    """True if a server answers this with 200."""
    try:
        return (await client.get(path)).status_code == 200
    except httpx.TransportError:
        return False


@asynccontextmanager
async def open_relay_processes(database_url: str) -> AsyncIterator[RelayProcesses]:
    """The double, which repeats its webhooks quickly, and the receiver; the test starts the relay."""
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    with reserved_port() as port, tempfile.TemporaryDirectory(prefix="relay-processes-") as folder:
        async with (
            open_neighbours(QUICK_RETRIES) as neighbours,
            http_client(f"http://127.0.0.1:{port}", headers=headers, timeout=20) as client,
        ):
            processes = RelayProcesses(neighbours, database_url, port, client, Path(folder))
            await _subscribe(database_url, f"{neighbours.receiver_url}/events")
            try:
                yield processes
            finally:
                await processes.end()


async def _subscribe(database_url: str, url: str) -> None:
    """An endpoint for all events, before any relay runs."""
    endpoint = Endpoint(
        id="ep_chaos",
        owner="bootstrap",
        sees_all=True,
        url=url,
        secret_encrypted=SecretBox([MASTER_SECRET.encode()]).encrypt(new_endpoint_secret()),
        created_at_ms=wall_ms(),
    )
    async with open_database(database_url, Notifier()) as database:
        await database.write(lambda session: endpoints.add(session, endpoint))


@dataclass
class ServingRelay:
    """One relay that runs with its log in a file."""

    url: str
    pid: int
    log: Path

    def logged(self) -> str:
        """Everything it wrote so far."""
        return self.log.read_text("utf-8")


@asynccontextmanager
async def relay_process(folder: Path, **settings: str) -> AsyncIterator[ServingRelay]:
    """`soniox-relay serve` in `folder` with these settings and no others, until the block ends; it must exit 0."""
    with reserved_port() as port:
        process = await fork(("serve",), {**BARE, **settings, "PORT": str(port)}, folder, folder / LOG, "")
        serving = ServingRelay(f"http://127.0.0.1:{port}", process.pid, folder / LOG)
        try:
            await _until_serving(serving, process)
            yield serving
        finally:
            process.terminate()
            await asyncio.wait_for(process.wait(), LONGEST_END_S)
    assert process.returncode == 0, serving.logged()


@asynccontextmanager
async def command_process(folder: Path, *verb: str, **settings: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`soniox-relay VERB` in `folder` with these settings and no others; told to stop when the block ends."""
    with (folder / LOG).open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "service", *verb),
            cwd=folder,
            env={**BARE, **settings},
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), LONGEST_END_S)


async def _until_serving(relay: ServingRelay, process: Process) -> None:
    async with http_client(relay.url) as client:

        async def is_up() -> bool:
            assert process.returncode is None, relay.logged()
            return await answers(client)

        await until(is_up, within_s=START_WITHIN_S)
