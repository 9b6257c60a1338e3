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
from statistics import median

from bench.load import FAST, SLOW, Generator, Slices, Template, generator, rates, request, typical
from bench.naive import HEADER, SECRET
from bench.rate import ratio
from bench.served import MASTER_SECRET, naive, ready_databases, relay
from bench.table import Row, show
from service.crypto import SecretBox
from service.db.schema import upgrade
from tests.support.postgres import aside, postgres_server, run_on

JOB = "0b7f9c3e-6c0e-4f0e-9a53-2f0f8f1f7d11"
BODY = '{"id":"{id}","status":"completed"}'
BETWEEN_COMMITS = Slices(4, 0.15)
COMMITTED = 3  # times


def to_relay() -> Template:
    """A webhook the relay knows."""
    secret = SecretBox([MASTER_SECRET.encode()]).webhook_secret(JOB)
    return request(f"/webhooks/soniox?job={JOB}", {HEADER: secret}, BODY)


def to_naive() -> Template:
    """The same for the others."""
    return request(f"/webhooks/soniox?job={JOB}", {HEADER: SECRET}, BODY)


def acknowledging(sender: Generator, database: str, url: str) -> list[Row]:
    """The relay on one database beside the others."""
    with ExitStack() as stack:
        relay_port = stack.enter_context(relay(url, "--no-worker"))[0]
        ours, plain = (relay_port, to_relay()), (stack.enter_context(naive("plain")), to_naive())
        typed, stored = ((stack.enter_context(naive(name, url)), to_naive()) for name in ("typed", "stored"))
        at_32 = sender.in_turn({"relay": ours, "plain": plain, "typed": typed}, 32, FAST)
        at_128 = sender.in_turn({"relay": ours, "plain": plain}, 128, FAST)
        slower = sender.in_turn({"relay": ours, "stored": stored}, 32, SLOW)
    print(f"{database}, 32 at once: {typical(at_32)}; 128 at once: {typical(at_128)}; {typical(slower)}")
    p99_ms = {name: [load.p99_ms for load in loads] for name, loads in at_32.items()}
    return [
        Row(f"{database}: acknowledged against a plain route without a database, 32 at once",
            ratio(rates(at_32["relay"]), rates(at_32["plain"])), limit=0.6),
        Row(f"{database}: the same, 128 at once",
            ratio(rates(at_128["relay"]), rates(at_128["plain"])), limit=0.75),
        Row(f"{database}: against FastAPI with a pydantic body and no database, 32 at once",
            ratio(rates(at_32["relay"]), rates(at_32["typed"])), limit=1.5),
        Row(f"{database}: against FastAPI with a SQLModel session per request, 32 at once",
            ratio(rates(slower["relay"]), rates(slower["stored"])), limit=10),
        Row(f"{database}: p99 against the plain route's, 32 at once",
            ratio(p99_ms["relay"], p99_ms["plain"]), limit=4, at_least=False),
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
            relay_rates, plain_rates, single = [], [], []
            with relay(url, "--no-worker", **slow) as (port, _), naive("plain") as no_database:
                targets = {"relay": (port, to_relay()), "plain": (no_database, to_naive())}
                for _ in range(COMMITTED):
                    loads = sender.in_turn(targets, 128, BETWEEN_COMMITS)
                    relay_rates.append(median(rates(loads["relay"])))
                    plain_rates.append(median(rates(loads["plain"])))
                    single.append(commits_one_by_one(url, slow))
            print(f"{database}, fsync 1 ms longer: {typical(loads)}, one by one {median(single):.0f}/s")
            rows += [
                Row(f"{database}, fsync 1 ms longer: acknowledged against rows committed one by one",
                    ratio(relay_rates, single), limit=12),
                Row(f"{database}: the plain route without a database against the same",
                    ratio(plain_rates, single)),
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
