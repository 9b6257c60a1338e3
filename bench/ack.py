"""How quickly a webhook is acknowledged, verified and on disk, beside routes without a database and beside the
handler most people write: `python -m bench.ack`.

One relay process that only answers (`serve --no-worker`) and each of the others in a process of its own, in turn.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.load import Generator, Load, Template, generator, request
from bench.naive import HEADER, SECRET
from bench.served import MASTER_SECRET, naive, ready_databases, relay
from bench.table import Row, show
from service.migrate import upgrade
from service.vault import Vault
from tests.support.postgres import aside, postgres_server, run_on

JOB = "0b7f9c3e-6c0e-4f0e-9a53-2f0f8f1f7d11"
BODY = '{"id":"{id}","status":"completed"}'
ROUNDS = 12  # short ones: the machine is fast and slow by turns of some seconds
SECONDS = 0.25
SLOW_COMMITS = 300


def to_relay() -> Template:
    """A webhook the relay knows."""
    secret = Vault([MASTER_SECRET.encode()]).webhook_secret(JOB)
    return request(f"/webhooks/soniox?job={JOB}", {HEADER: secret}, BODY)


def to_naive() -> Template:
    """The same for the others."""
    return request(f"/webhooks/soniox?job={JOB}", {HEADER: SECRET}, BODY)


def measure(
    sender: Generator, targets: dict[str, tuple[int, Template]], connections: int, seconds: float = SECONDS
) -> dict[str, Load]:
    """The median of some rounds for each target; they take turns, so that a slow moment hits all."""
    found: dict[str, list[Load]] = {name: [] for name in targets}
    for _ in range(ROUNDS):
        for name, (port, template) in targets.items():
            found[name].append(sender.run(port, template, connections, seconds))
    assert not sum(load.refused for loads in found.values() for load in loads), "not every request was accepted"
    return {name: sorted(loads, key=lambda load: load.rate)[ROUNDS // 2] for name, loads in found.items()}


def acknowledging(sender: Generator, database: str, url: str) -> list[Row]:
    """The relay on one database beside the others."""
    with ExitStack() as stack:
        targets = {
            "relay": (stack.enter_context(relay(url, "--no-worker"))[0], to_relay()),
            "plain": (stack.enter_context(naive("plain")), to_naive()),
            "typed": (stack.enter_context(naive("typed")), to_naive()),
            "stored": (stack.enter_context(naive("stored", url)), to_naive()),
        }
        at_32 = measure(sender, targets, 32)
        at_128 = measure(sender, targets, 128)
    ours = at_32["relay"]
    print(f"{database}, 32 at once: " + ", ".join(f"{name} {load.rate:.0f}/s" for name, load in at_32.items()))
    return [
        Row(f"{database}: acknowledged against a plain route without a database, 32 at once",
            ours.rate / at_32["plain"].rate, limit=0.6),
        Row(f"{database}: the same, 128 at once", at_128["relay"].rate / at_128["plain"].rate, limit=0.75),
        Row(f"{database}: against FastAPI with a pydantic body and no database, 32 at once",
            ours.rate / at_32["typed"].rate, limit=1.5),
        Row(f"{database}: against FastAPI with a SQLModel session per request, 32 at once",
            ours.rate / at_32["stored"].rate, limit=10),
        Row(f"{database}: p99 against the plain route's, 32 at once",
            ours.p99_ms / at_32["plain"].p99_ms, limit=4, at_least=False),
    ]  # fmt: skip


def slow_disk(sender: Generator) -> list[Row]:
    """With every fsync 1 ms longer: acknowledgements beside rows committed one by one."""
    rows: list[Row] = []
    if shutil.which("gcc") is None:
        print("no gcc: the slow disk is left out")
        return rows
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        Path(folder).chmod(0o755)  # PostgreSQL runs as another user
        library = built_slowsync(Path(folder))
        slow = {"LD_PRELOAD": str(library)}
        with environment(slow):
            server = stack.enter_context(postgres_server())
        run_on(server, "CREATE DATABASE slow")
        for database, url in {"SQLite": f"sqlite:///{folder}/slow.db", "PostgreSQL": f"{server}/slow"}.items():
            aside(upgrade, url)
            with relay(url, "--no-worker", **slow) as (port, _), naive("plain") as no_database:
                targets = {"relay": (port, to_relay()), "plain": (no_database, to_naive())}
                loads = measure(sender, targets, 128)
            single = commits_one_by_one(url, slow)
            ours, plain = loads["relay"].rate, loads["plain"].rate
            print(f"{database}, fsync 1 ms longer: {ours:.0f}/s, plain {plain:.0f}/s, one by one {single:.0f}/s")
            rows += [
                Row(f"{database}, fsync 1 ms longer: acknowledged against rows committed one by one",
                    ours / single, limit=12),
                Row(f"{database}: the plain route without a database against the same", plain / single),
            ]  # fmt: skip
    return rows


def built_slowsync(folder: Path) -> Path:
    """The shim, compiled."""
    library = folder / "slowsync.so"
    source = Path(__file__).with_name("slowsync.c")
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)  # noqa: S603, S607  # our own source
    return library


def commits_one_by_one(url: str, variables: dict[str, str]) -> float:
    """Rows in a second when each has a commit of its own, in a process with these variables."""
    command = [sys.executable, "-m", "bench.commits", url]
    done = subprocess.run(  # noqa: S603  # our own program
        command, env={**os.environ, **variables}, check=True, capture_output=True, text=True
    )
    return float(done.stdout)


@contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    """These variables for the programs started meanwhile."""
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            del os.environ[name]


def rows() -> list[Row]:
    """Everything, on both databases."""
    found = []
    with generator() as sender:
        with ready_databases() as urls:
            for database, url in urls.items():
                found += acknowledging(sender, database, url)
        found += slow_disk(sender)
    return found


if __name__ == "__main__":
    show(rows())
