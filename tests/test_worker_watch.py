"""A worker process shows health and metrics where it is told to, and nowhere else."""

import asyncio
import re
import signal
import sys
from pathlib import Path

import httpx

from service.cli.demo.household import free_port
from service.sandbox import SandboxConfig, create_sandbox
from tests.support.process import BARE
from tests.support.servers import serving

GIVEN = {
    "SONIOX_API_KEY": "sandbox-key",
    "SONIOX_API_WEBHOOK_SECRET": "master-secret-of-the-tests-0001",
    "RELAY_RECONCILE_INTERVAL_S": "0.2",
}


async def worker(folder: Path, **settings: str) -> asyncio.subprocess.Process:
    command = (sys.executable, "-m", "service", "worker")
    env = {**BARE, **GIVEN, "DATABASE_URL": f"sqlite:///{folder / 'relay.db'}", **settings}
    return await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=env, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )


async def test_a_worker_shows_its_health_and_metrics_on_its_port(tmp_path: Path) -> None:
    port = free_port()
    async with serving(create_sandbox(SandboxConfig(api_key="sandbox-key"))) as soniox:
        process = await worker(tmp_path, SONIOX_API_BASE_URL=soniox.url, RELAY_WORKER_PORT=str(port))
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=5) as client:
                await until_ready(client)
                metrics = (await client.get("/metrics")).text
                assert (await client.get("/livez")).status_code == 200
                assert (await client.get("/v1/transcriptions")).status_code == 404
        finally:
            process.send_signal(signal.SIGTERM)
            code = await asyncio.wait_for(process.wait(), 15)
    assert code == 0
    assert re.search(r"^relay_reconciler_runs_total\{", metrics, re.MULTILINE)  # its own counter
    assert re.search(r"^relay_database_up 1\.0$", metrics, re.MULTILINE)
    assert re.search(r"^relay_worker_last_seen_timestamp_seconds 1\.\d+e\+09$", metrics, re.MULTILINE)


async def until_ready(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                if (await client.get("/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)


async def test_a_port_that_is_taken_is_a_mistake_told_at_once(tmp_path: Path) -> None:
    taken = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    async with taken:
        process = await worker(tmp_path, RELAY_WORKER_PORT=str(taken.sockets[0].getsockname()[1]))
        assert await asyncio.wait_for(process.wait(), 60) == 1
