"""Zero downtime: two releases work on one backlog while the schema goes from the one to the other."""

import asyncio
import io
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from service.db.schema import HEAD, upgrade
from tests.support.postgres import execute
from tests.support.relay_app import MASTER_SECRET
from tests.support.relay_processes import REPOSITORY, Process, RelayProcesses, open_relay_processes

PARTS = ("service", "migrations")
NEXT = f'''"""A made-up next revision: it adds what the newer release would use."""
import sqlalchemy as sa
from alembic import op

revision, down_revision = "9999", "{HEAD}"
branch_labels = depends_on = None
phase = "pre-deploy"


def upgrade() -> None:
    op.add_column("transcriptions", sa.Column("mood", sa.String(), nullable=True))
    op.add_column("webhooks", sa.Column("weight", sa.Integer(), nullable=False, server_default="1"))
    op.create_table("moods", sa.Column("id", sa.String(), primary_key=True))
    op.create_index("ix_webhooks_weight", "webhooks", ["weight"])
'''


def this_release(_folder: Path) -> Path:
    return REPOSITORY


def next_release(folder: Path) -> Path:
    """This code, with one more revision."""
    for part in PARTS:
        copy = shutil.copytree if (REPOSITORY / part).is_dir() else shutil.copy
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        copy(REPOSITORY / part, folder / part)
    (folder / "migrations" / "versions" / "9999_mood.py").write_text(NEXT)
    revisions = folder / "service" / "db" / "schema.py"
    revisions.write_text(revisions.read_text().replace(f'"{HEAD}"', '"9999"'))
    return folder


def release_before(folder: Path) -> Path:
    """The newest release, by its tag."""
    tag = git("describe", "--tags", "--abbrev=0", "--match", "v*").decode().strip()
    if not tag:
        pytest.skip("nothing is released yet")
    with tarfile.open(fileobj=io.BytesIO(git("archive", tag, *PARTS))) as archive:
        archive.extractall(folder, filter="data")
    return folder


def git(*arguments: str) -> bytes:
    """What git prints; nothing where it fails or there is no history."""
    try:
        return subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, check=False).stdout  # noqa: S603, S607  # git, wherever it is
    except FileNotFoundError:
        return b""


@pytest.fixture
async def empty_database(postgres_url: str) -> AsyncIterator[str]:
    """A database that no release has touched."""
    name = f"relay_upgrade_{os.getpid()}"
    await execute(postgres_url, f"CREATE DATABASE {name}")
    yield f"{postgres_url}/{name}"
    await execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


def migrate(release: Path, database_url: str) -> None:
    """`soniox-relay migrate`, of that release."""
    secrets = {"SONIOX_API_KEY": "sandbox-key", "SONIOX_API_WEBHOOK_SECRET": MASTER_SECRET}
    done = subprocess.run(  # our own interpreter
        [sys.executable, "-m", "service", "migrate"],
        cwd=release,
        env=secrets | {"DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@asynccontextmanager
async def worker_of(processes: RelayProcesses, release: Path) -> AsyncIterator[Process]:
    """A worker of that release, gone in the end."""
    process = await processes.spawn_release(release, "worker")
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(this_release, next_release, id="next", marks=pytest.mark.long),
        pytest.param(release_before, this_release, id="before", marks=pytest.mark.long),
    ],
)
async def test_two_releases_share_a_backlog_while_the_schema_changes(
    old: Callable[[Path], Path], new: Callable[[Path], Path], empty_database: str, tmp_path: Path
) -> None:
    older, newer = old(tmp_path), new(tmp_path)
    await asyncio.to_thread(upgrade if older == REPOSITORY else partial(migrate, older), empty_database)
    async with open_relay_processes(empty_database) as processes:
        processes.relay = await processes.spawn_release(older, "serve", "--no-worker")
        await processes.until_up(within_s=60)
        await processes.submit_many(0, 10)  # a backlog: nobody works yet
        async with worker_of(processes, older) as outgoing:
            submitting = asyncio.create_task(processes.submit_many(10, 10))
            await asyncio.to_thread(migrate, newer, empty_database)  # while the older release accepts and works
            async with worker_of(processes, newer):
                await submitting
                await processes.submit_many(20, 10)
                assert outgoing.returncode is None
                assert await processes.stop() == 0
                processes.relay = await processes.spawn_release(newer, "serve", "--no-worker")
                await processes.until_up(within_s=60)
                await processes.submit_many(30, 10)
                account = await processes.settled(within_s=60)
                assert account.is_clean(), account
                assert account.jobs == 40


async def test_an_older_process_may_start_again_after_the_migration_and_is_ready(
    empty_database: str, tmp_path: Path
) -> None:
    await asyncio.to_thread(migrate, next_release(tmp_path), empty_database)
    await asyncio.to_thread(
        migrate, REPOSITORY, empty_database
    )  # the older release's own job, run again: nothing to do
    async with open_relay_processes(empty_database) as processes:
        await processes.start()
        await processes.until_up(within_s=60)
        await processes.until_ready(within_s=60)
        await processes.submit(0)
        assert (await processes.settled()).is_clean()
