"""The relay as users run it: a process of its own, with its log in a file."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from service.cli.demo.household import free_port

BARE = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}


@dataclass
class Process:
    """One running relay."""

    url: str
    pid: int
    log: Path

    def logged(self) -> str:
        """Everything it wrote so far."""
        return self.log.read_text("utf-8")


@asynccontextmanager
async def relay_process(folder: Path, **settings: str) -> AsyncIterator[Process]:
    """`soniox-relay serve` in `folder` with these settings and no others, until the block ends; it must exit 0."""
    port = free_port()
    log = folder / "relay.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "service", "serve"),
            cwd=folder,
            env={**BARE, **settings, "PORT": str(port)},
            stdout=output,
            stderr=output,
        )
    try:
        started = Process(f"http://127.0.0.1:{port}", process.pid, log)
        await _until_up(started, process)
        yield started
    finally:
        if process.returncode is None:
            process.terminate()
        code = await asyncio.wait_for(process.wait(), 15)
    assert code == 0, log.read_text("utf-8")


async def _until_up(relay: Process, process: asyncio.subprocess.Process) -> None:
    async with httpx.AsyncClient(base_url=relay.url) as client, asyncio.timeout(20):
        while True:
            assert process.returncode is None, relay.logged()
            try:
                await client.get("/livez")
            except httpx.TransportError:
                await asyncio.sleep(0.05)
            else:
                return
