"""The relay in a process of its own that may kill itself at a named point.

It is the real command with the settings of the environment, forked from a process that has imported the
application (`PRELOADED`). Only the function at the point is wrapped, and the times that a crash makes a test wait
for are short.
"""

import functools
import gc
import importlib
import inspect
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.chaos.points import POINTS, Point

PRELOADED = [
    "tests.chaos.child",
    "service.app",
    "service.cli.main",
    "service.cli.database",
    "service.server",
    "asyncpg",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "uvicorn.lifespan.off",
    "uvloop",
]

LEASE_MS = 1_500
SHORT_TIMES: dict[str, dict[str, float]] = {
    "service.worker": {"LEASE_MS": LEASE_MS, "RENEW_EVERY_S": 0.3},
    "service.relay": {"SENDING_MS": 300},
    "service.store.quotas": {"SHOWS_AFTER_MS": 1_000},
}


def run(verb: tuple[str, ...], environment: dict[str, str], folder: Path, log: Path, point: str) -> None:
    """Be `soniox-relay VERB` in `folder`, with the output in `log`, until killed or stopped."""
    gc.freeze()  # the imports are not searched for garbage in every process anew
    with log.open("wb") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["soniox-relay", *verb]
    for module, times in SHORT_TIMES.items():
        vars(importlib.import_module(module)).update(times)
    importlib.import_module("service.app")
    if point:
        arm(POINTS[point])
    importlib.import_module("service.__main__").main()


def die() -> None:
    """Like a power cut for this process: nothing is flushed, closed or said."""
    os.kill(os.getpid(), signal.SIGKILL)


def arm(point: Point) -> None:
    """Wrap the function, everywhere it has been imported to."""
    module_name, _, path = point.target.partition(":")
    holder: Any = importlib.import_module(module_name)
    *parents, name = path.split(".")
    for parent in parents:
        holder = getattr(holder, parent)
    original = getattr(holder, name)
    wrapped = deadly(original, point.when)
    setattr(holder, name, wrapped)
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("service.") and getattr(module, name, None) is original:
            setattr(module, name, wrapped)


def deadly(original: Callable[..., Any], when: str) -> Callable[..., Any]:
    """The function, and with it death: before each call, or after the first one that did something."""

    @functools.wraps(original)
    def step(*args: Any, **kwargs: Any) -> Any:
        if when == "before":
            die()
        return die_of(original(*args, **kwargs))

    @functools.wraps(original)
    async def coroutine(*args: Any, **kwargs: Any) -> Any:
        if when == "before":
            die()
        return die_of(await original(*args, **kwargs))

    return coroutine if inspect.iscoroutinefunction(original) else step


def die_of(result: Any) -> Any:
    """An empty claim is no place to die: nothing has happened yet."""
    if result is not False and result != []:
        die()
    return result
