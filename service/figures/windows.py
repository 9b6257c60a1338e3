"""Windows of time and their intervals, and how long things took within them. Pure."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, repeat
from typing import Literal

from service.clock import DAY_MS, HOUR_MS, MINUTE_MS
from service.store.statistics import Interval, Kind, Window

Length = Literal["1h", "24h", "7d", "30d"]

WINDOWS: dict[Length, tuple[int, int]] = {
    "1h": (HOUR_MS, MINUTE_MS),
    "24h": (DAY_MS, 15 * MINUTE_MS),
    "7d": (7 * DAY_MS, 2 * HOUR_MS),
    "30d": (30 * DAY_MS, 6 * HOUR_MS),
}


def window_of(length: Length, now_ms: int) -> Window:
    """The window that ends now. Intervals begin at full minutes or hours, so that charts do not tremble."""
    whole_ms, interval_ms = WINDOWS[length]
    first_ms = now_ms - whole_ms + interval_ms
    return Window(first_ms - first_ms % interval_ms, now_ms, interval_ms)


def total(intervals: Iterable[Interval], kinds: Sequence[Kind]) -> int:
    """How many of these kinds."""
    return sum(interval.counts[kind] for interval in intervals for kind in kinds)


def quantiles(intervals: Iterable[Interval], *parts: float) -> list[int | None]:
    """For each of `parts` the duration in ms that so many of all stayed within; None when there are none.

    Each interval counts for as many as it had, however few durations were read of it.
    """
    weighted = sorted(_weighted(intervals))
    reached = list(accumulate(weight for _, weight in weighted))
    return [weighted[bisect_left(reached, part * reached[-1] - 1e-9)][0] if reached else None for part in parts]


def _weighted(intervals: Iterable[Interval]) -> Iterator[tuple[int, float]]:
    """Each duration with how many it stands for. A month has tens of thousands."""
    for interval in intervals:
        for kind, durations_ms in interval.durations_ms.items():
            yield from zip(durations_ms, repeat(interval.counts[kind] / len(durations_ms)), strict=False)
