"""Time in milliseconds since 1970. The wall clock is read once; the monotonic clock advances it.

With PostgreSQL the wall clock is the database's, so all processes agree on when leases end. Setting back the
machine's clock does not affect a running process.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], int]

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


def steady_clock(wall_ms: int) -> Clock:
    """Return a clock that reads `wall_ms` now and advances monotonically."""
    offset_ms = wall_ms - time.monotonic_ns() // 1_000_000
    return lambda: offset_ms + time.monotonic_ns() // 1_000_000


def wall_ms() -> int:
    """Return the machine's wall time in ms since 1970."""
    return time.time_ns() // 1_000_000


def iso(at_ms: int | None) -> str | None:
    """Format a time as Soniox does: RFC 3339 in UTC with milliseconds and `Z`. None stays None."""
    if at_ms is None:
        return None
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
