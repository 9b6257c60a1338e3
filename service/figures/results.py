"""What happened in a window: results, how the relay learned of them, deliveries. Pure."""

from collections.abc import Callable, Sequence
from typing import Any

from service.clock import iso
from service.figures.windows import quantiles, total
from service.store.statistics import COMPLETED, DELIVERED, EXHAUSTED, FAILED, Interval, Kind, Window


def jobs(parts: Sequence[Interval], window: Window) -> dict[str, Any]:
    """Transcriptions by the moment they ended. `parts` are the window's intervals, or shorter ones."""
    return _by_interval(parts, window, _ends)


def deliveries(parts: Sequence[Interval], window: Window) -> dict[str, Any]:
    """Deliveries that are over, by the moment they were made."""
    return _by_interval(parts, window, _sent)


def _by_interval(
    parts: Sequence[Interval], window: Window, told: Callable[[Sequence[Interval]], dict[str, Any]]
) -> dict[str, Any]:
    begins = range(window.since_ms, window.now_ms + 1, window.interval_ms)
    within: dict[int, list[Interval]] = {begin: [] for begin in begins}
    for part in parts:
        within[part.since_ms - (part.since_ms - window.since_ms) % window.interval_ms].append(part)
    intervals = [{"start": iso(begin), **told(those)} for begin, those in within.items()]
    return {**told(parts), "intervals": intervals}


def _ends(intervals: Sequence[Interval]) -> dict[str, Any]:
    p50_ms, p95_ms = quantiles(intervals, 0.5, 0.95)
    sources = dict.fromkeys(source for _, source in COMPLETED + FAILED)
    return {
        "completed": total(intervals, COMPLETED),
        "failed": total(intervals, FAILED),
        "learned_from": {source: total(intervals, _from(source)) for source in sources},
        "turnaround_p50_ms": p50_ms,
        "turnaround_p95_ms": p95_ms,
    }


def _sent(intervals: Sequence[Interval]) -> dict[str, Any]:
    delivered, exhausted = total(intervals, DELIVERED), total(intervals, EXHAUSTED)
    p50_ms, p95_ms = quantiles(intervals, 0.5, 0.95)
    over = delivered + exhausted
    return {
        "delivered": delivered,
        "exhausted": exhausted,
        "success_ratio": delivered / over if over else None,
        "p50_ms": p50_ms,
        "p95_ms": p95_ms,
    }


def _from(source: str) -> list[Kind]:
    return [kind for kind in COMPLETED + FAILED if kind[1] == source]
