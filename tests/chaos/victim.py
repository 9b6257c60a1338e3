"""The relay as a process that kills itself at a named point: `DIE_AT=POINT python -m tests.chaos.victim serve`.

It is the real command with the settings of the environment; only the function at the point is wrapped, and the
leases are short, so that a test need not wait for them.
"""

import functools
import importlib
import os
import signal
import sys
from typing import Any

import service.worker
from tests.chaos.points import POINTS, Point

SHORT_LEASE_MS = 4_000
SHORT_RENEWAL_S = 1.0


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

    @functools.wraps(original)
    async def deadly(*args: Any, **kwargs: Any) -> Any:
        if point.when == "before":
            die()
        result = await original(*args, **kwargs)
        if result is False or result == []:
            return result  # nothing happened yet: an empty claim is no place to die
        die()
        return result

    setattr(holder, name, deadly)
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("service.") and getattr(module, name, None) is original:
            setattr(module, name, deadly)


def main() -> None:
    """Run until killed or stopped."""
    service.worker.LEASE_MS = SHORT_LEASE_MS
    service.worker.RENEW_EVERY_S = SHORT_RENEWAL_S
    importlib.import_module("service.app")
    if point := os.environ.get("DIE_AT"):
        arm(POINTS[point])
    importlib.import_module("service.__main__").main()


if __name__ == "__main__":
    main()
