"""Time in milliseconds since 1970 that never jumps: wall time read once, then carried on monotonically.

With PostgreSQL the wall time is the database's, so that all processes agree on leases whatever their own
clocks say. A wall clock that is set back an hour under a running process changes nothing here.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], int]

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


def steady_clock(wall_ms: int) -> Clock:
    """A clock that reads `wall_ms` now and runs evenly from there."""
    offset_ms = wall_ms - time.monotonic_ns() // 1_000_000
    return lambda: offset_ms + time.monotonic_ns() // 1_000_000


def wall_ms() -> int:
    """The machine's own wall time."""
    return time.time_ns() // 1_000_000


def iso(at_ms: int | None) -> str | None:
    """RFC 3339 in UTC with milliseconds and `Z`, as Soniox writes it."""
    if at_ms is None:
        return None
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
