"""Every job ends, once, whatever happens in whatever order: rules in a random order against a small model.

Time is virtual. No worker runs: rules claim rows by the lanes' own claims and run the real steps, which may die or
stand still at any call to the database or to Soniox. `RELAY_STATE_MACHINE_EXAMPLES` sets the number of examples
for a longer search, which is then a different one each time.
"""

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from tenacity import AsyncRetrying

from service import governor
from service.lifecycle import Stage
from service.soniox import client
from service.worker import LEASE_MS
from tests.conftest import numbers
from tests.support.postgres import execute
from tests.support.relay_app import open_neighbours
from tests.support.simulation.harness import BEGINNING_MS, INSTANT, one_client
from tests.support.simulation.process import Fuse, Ticking
from tests.support.simulation.rules import Ground, Lifecycle

EXAMPLES = int(os.environ.get("RELAY_STATE_MACHINE_EXAMPLES", "0"))
STEPS = 40
LISTING = 2  # the inner call of an unsettled submission that lists; the first spends a request of the budget
# Shrinking takes minutes: a short run shows the example as it was found, a long one the smallest like it.
PHASES = (Phase.generate, Phase.shrink) if EXAMPLES else (Phase.generate,)
MEMORY = "/dev/shm"  # noqa: S108  # a folder of our own in it; thousands of commits need no disk here


@pytest.fixture
def ground(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    """An event loop with the neighbours on it; whoever waits inside the relay makes virtual time pass."""
    clock = Ticking(BEGINNING_MS)
    monkeypatch.setattr(governor, "asyncio", SimpleNamespace(sleep=clock.sleep))
    monkeypatch.setattr(client, "AsyncRetrying", partial(AsyncRetrying, sleep=clock.sleep))
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        neighbours = runner.run(stack.enter_async_context(open_neighbours(INSTANT)))
        shared = runner.run(stack.enter_async_context(one_client()))
        monkeypatch.setattr(client, "new_client", lambda **_: shared)
        yield Ground(runner, neighbours, clock, lambda: "", Counter())
        runner.run(stack.aclose())


@contextlib.contextmanager
def sqlite_files(template: Path) -> Iterator[Callable[[], str]]:
    """Copies of the template, in memory where there is such a folder."""
    with tempfile.TemporaryDirectory(dir=MEMORY if Path(MEMORY).is_dir() else None) as folder:

        def new_database() -> str:
            path = Path(folder) / f"{next(numbers)}.db"
            shutil.copy(template, path)
            return f"sqlite:///{path}"

        yield new_database


def explore(ground: Ground, examples: int) -> None:
    """Run them, and say how much was tried."""
    run_state_machine_as_test(
        lambda: Lifecycle(ground),  # type: ignore[arg-type]  # any callable without arguments will do
        settings=settings(
            max_examples=EXAMPLES or examples,
            stateful_step_count=STEPS,
            deadline=None,  # a step is a database commit
            derandomize=not EXAMPLES,
            database=None,
            phases=PHASES,
            print_blob=False,
            suppress_health_check=list(HealthCheck),  # servers and commits are slow by nature
        ),
    )
    print("\n" + ", ".join(f"{name}: {number}" for name, number in sorted(ground.counts.items())))  # noqa: T201  # how much was tried belongs to the result
    assert ground.counts["ended completed"], "nothing got anywhere"


@pytest.mark.timeout(0 if EXAMPLES else 120)
def test_whatever_happens_every_job_ends_once_on_sqlite(ground: Ground, sqlite_template: Path) -> None:
    with sqlite_files(sqlite_template) as ground.new_database:
        explore(ground, examples=8)


@pytest.mark.timeout(0 if EXAMPLES else 120)
def test_whatever_happens_every_job_ends_once_on_postgresql(ground: Ground, postgres_url: str) -> None:
    made: list[str] = []

    def new_database() -> str:
        made.append(f"relay_machine_{os.getpid()}_{next(numbers)}")
        template = f"relay_template_{os.getpid()}"
        ground.runner.run(
            execute(postgres_url, f"CREATE DATABASE {made[-1]} TEMPLATE {template} STRATEGY FILE_COPY")
        )
        return f"{postgres_url}/{made[-1]}"

    ground.new_database = new_database
    try:
        explore(ground, examples=4)
    finally:
        for name in made:
            ground.runner.run(execute(postgres_url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))


@pytest.fixture
def example(ground: Ground, sqlite_template: Path) -> Iterator[Lifecycle]:
    """One example to be told rule by rule: what the search found once stays found."""
    with sqlite_files(sqlite_template) as ground.new_database:
        machine = Lifecycle(ground)
        yield machine
        machine.teardown()


def test_a_collector_that_slept_through_a_retry_does_not_end_the_new_attempt(example: Lifecycle) -> None:
    example.submit("outcome=error:invalid_audio_file", "url", None, 1)
    example.submit_and_tell(1, Fuse(at=2, when="after", how="stop"))
    example.let_time_pass(LEASE_MS + 3_000)
    example.work("collect", 1)
    example.nothing_happened_that_must_not()
    example.try_again(0, None, twice=False)
    example.wake(0, kill=False)
    example.nothing_happened_that_must_not()
    (job,) = example.jobs()
    assert (job.stage, job.attempt) == (Stage.ACCEPTED, 2)


def test_a_worker_that_slept_after_its_upload_leaves_the_file_to_who_took_over(example: Lifecycle) -> None:
    example.submit("stuck", "file", None, 1)
    example.break_down_submitting(1, Fuse(at=2, when="after", how="stop"))
    example.let_time_pass(LEASE_MS + 3_000)
    example.work("submit", 1)
    example.wake(0, kill=False)
    example.work("cleanup", 3)
    assert len(example.simulation.desk.soniox.files) == 1
    example.nothing_happened_that_must_not()


def test_a_result_that_came_while_a_step_looked_for_its_create_is_not_created_again(example: Lifecycle) -> None:
    example.soniox_misbehaves("create answer cut")
    example.submit("tokens=3", "url", None, 1)
    example.work("submit", 1)  # it took effect, and the answer was cut
    example.let_time_pass(7_000)
    (created,) = example.simulation.desk.soniox.created.values()
    example.break_down_submitting(1, Fuse(at=LISTING, when="before", how="stop"))
    example.deliver(0, 1, late=False, lie=False)
    example.work("collect", 1)
    example.work("cleanup", 1)
    assert not example.simulation.living()  # the listing that follows does not have it
    example.wake(0, kill=False)
    example.nothing_happened_that_must_not()
    assert list(example.simulation.desk.soniox.created.values()) == [created]
    (job,) = example.jobs()
    assert job.stage == Stage.COMPLETED


def test_an_attempt_whose_create_is_in_doubt_does_not_adopt_what_an_earlier_attempt_left(
    example: Lifecycle,
) -> None:
    example.submit("outcome=error:invalid_audio_file", "url", None, 1)
    example.submit_and_tell(1, None)
    example.nothing_happened_that_must_not()
    example.try_again(0, None, twice=True)
    example.break_down_submitting(1, Fuse(at=2, when="before", how="die"))  # the create was never sent
    example.let_time_pass(LEASE_MS + 3_000)
    example.work("submit", 1)
    example.nothing_happened_that_must_not()
    assert len(example.simulation.desk.soniox.created) == 2
