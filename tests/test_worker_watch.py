"""A worker process shows health and metrics where it is told to, and nowhere else."""

import asyncio
import re
from pathlib import Path

from service.sandbox.app import create_sandbox
from service.sandbox.state import SandboxConfig
from tests.support.relay_processes import answers, command_process, reserved_port
from tests.support.servers import http_client, serving
from tests.support.waiting import until

GIVEN = {
    "SONIOX_API_KEY": "sandbox-key",
    "SONIOX_API_WEBHOOK_SECRET": "master-secret-of-the-tests-0001",
    "RELAY_RECONCILE_INTERVAL_S": "0.2",
}


def settings_in(folder: Path, **settings: object) -> dict[str, str]:
    given = {**GIVEN, "DATABASE_URL": f"sqlite:///{folder / 'relay.db'}", **settings}
    return {name: str(value) for name, value in given.items()}


async def test_a_worker_shows_its_health_and_metrics_on_its_port(sqlite_url: str, tmp_path: Path) -> None:
    double = create_sandbox(SandboxConfig(api_key="sandbox-key", recognise="script"))
    with reserved_port() as port:
        async with serving(double) as soniox:
            settings = settings_in(tmp_path, SONIOX_API_BASE_URL=soniox.url, RELAY_WORKER_PORT=port)
            async with (
                command_process(tmp_path, "worker", **settings) as process,
                http_client(f"http://127.0.0.1:{port}", timeout=5) as client,
            ):
                await until(lambda: answers(client, "/readyz"), within_s=60)
                metrics = (await client.get("/metrics")).text
                assert (await client.get("/livez")).status_code == 200
                assert (await client.get("/v1/transcriptions")).status_code == 404
    assert process.returncode == 0
    assert re.search(r"^relay_reconciler_runs_total\{", metrics, re.MULTILINE)  # its own counter
    assert re.search(r"^relay_database_up 1\.0$", metrics, re.MULTILINE)
    assert re.search(r"^relay_worker_last_seen_timestamp_seconds 1\.\d+e\+09$", metrics, re.MULTILINE)


async def test_a_port_that_is_taken_is_a_mistake_told_at_once(sqlite_url: str, tmp_path: Path) -> None:
    taken = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    async with taken:
        settings = settings_in(tmp_path, RELAY_WORKER_PORT=taken.sockets[0].getsockname()[1])
        async with command_process(tmp_path, "worker", **settings) as process:
            assert await asyncio.wait_for(process.wait(), 60) == 1
