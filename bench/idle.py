"""What a relay costs that has nothing to do, and one with 10,000 outstanding jobs: `python -m bench.idle`.

Processor time of its processes over some seconds, as a share of one core, and their resident memory. The
outstanding jobs wait here for room at Soniox, for which the double stands in.
"""

import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import aiohttp
import httpx
import psutil

from bench.memory import KEY, MEGABYTE, Gauge, running, until_up
from bench.table import Row, show
from service.cli.demo.servers import free_port
from service.db.schema import upgrade
from tests.support.postgres import aside, postgres_server, run_on

OVER_S = 10
SETTLES_IN_S = 5
OUTSTANDING = 10_000
AT_ONCE = 16


@contextmanager
def relay(database_url: str, folder: str, *verbs: tuple[str, ...]) -> Iterator[tuple[httpx.Client, list[int]]]:
    """A relay in these processes, the first of which serves; its client and their process ids."""
    with ExitStack() as stack:
        soniox_port, port = free_port(), free_port()
        stack.enter_context(running(folder, "sandbox", "--recognise", "script", "--port", str(soniox_port)))
        settings = {
            "SONIOX_API_KEY": "sandbox-key",
            "SONIOX_API_BASE_URL": f"http://127.0.0.1:{soniox_port}",
            "SONIOX_API_WEBHOOK_SECRET": "webhook-secret-of-the-idle-bench",
            "RELAY_API_KEY": KEY,
            "DATABASE_URL": database_url,
            "PORT": str(port),
        }
        processes = [stack.enter_context(running(folder, *verb, **settings)) for verb in verbs]
        headers = {"Authorization": f"Bearer {KEY}"}
        client = stack.enter_context(
            httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60)
        )
        until_up(client, processes[0])
        yield client, [process.pid for process in processes]


def idle(name: str, database_url: str, *verbs: tuple[str, ...]) -> list[Row]:
    """Processor and memory of each process while nothing is asked of it."""
    with tempfile.TemporaryDirectory(prefix="relay-idle-") as folder:
        url = database_url or f"sqlite:///{folder}/relay.db"
        with relay(url, folder, *verbs) as (_, pids):
            time.sleep(SETTLES_IN_S)
            processes = [psutil.Process(pid) for pid in pids]
            before = [_processor_s(process) for process in processes]
            time.sleep(OVER_S)
            found = []
            for verb, process, spent_s in zip(verbs, processes, before, strict=True):
                what = f"{name}, idle {' '.join(verb)}"
                share = 100 * (_processor_s(process) - spent_s) / OVER_S
                found.append(Row(f"{what}: processor", share, "%", limit=1, at_least=False))
                memory = process.memory_info().rss / MEGABYTE
                found.append(Row(f"{what}: memory", memory, "MB", limit=120, at_least=False))
    return found


def loaded(name: str, database_url: str) -> list[Row]:
    """The most memory while 10,000 jobs come in and wait, and for some sweeps after."""
    with tempfile.TemporaryDirectory(prefix="relay-idle-") as folder:
        url = database_url or f"sqlite:///{folder}/relay.db"
        with relay(url, folder, ("serve",)) as (client, pids):
            gauge = Gauge(pids[0])
            asyncio.run(_submit_all(str(client.base_url)))
            time.sleep(SETTLES_IN_S)
            what = f"{name}, {OUTSTANDING:,} outstanding jobs: most memory"
            return [Row(what, gauge.highest(), "MB", limit=200, at_least=False)]


async def _submit_all(url: str) -> None:
    body = {"model": "stt-async-v5", "audio_url": "https://example.com/calls/recording.wav"}
    waiting = {**body, "client_reference_id": "processing_ms=600000"}
    numbers = iter(range(OUTSTANDING))

    async def submit_some() -> None:
        for _ in numbers:
            async with session.post("/v1/transcriptions", json=waiting) as answer:
                answer.raise_for_status()

    async with aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {KEY}"}) as session:
        await asyncio.gather(*[submit_some() for _ in range(AT_ONCE)])


def _processor_s(process: psutil.Process) -> float:
    spent = process.cpu_times()
    return float(spent.user + spent.system)


def rows() -> list[Row]:
    """SQLite in one process, PostgreSQL in two."""
    found = idle("SQLite", "", ("serve",)) + loaded("SQLite", "")
    with postgres_server() as server:
        run_on(server, "CREATE DATABASE relay_idle_bench")
        try:
            url = f"{server}/relay_idle_bench"
            aside(upgrade, url)
            found += idle("PostgreSQL", url, ("serve", "--no-worker"), ("worker",)) + loaded("PostgreSQL", url)
        finally:
            run_on(server, "DROP DATABASE relay_idle_bench WITH (FORCE)")
    return found


if __name__ == "__main__":
    show(rows())
