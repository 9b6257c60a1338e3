"""What happened in a window: results, how the relay learned of them, deliveries. Pure."""

from collections.abc import Sequence
from typing import Any

from service.clock import iso
from service.figures.windows import quantile, total
from service.store.history import COMPLETED, DELIVERED, EXHAUSTED, FAILED, Interval, Kind


def jobs(intervals: Sequence[Interval]) -> dict[str, Any]:
    """Transcriptions by the moment they ended."""
    return {**_ends(intervals), "intervals": [{"start": iso(one.since_ms), **_ends([one])} for one in intervals]}


def deliveries(intervals: Sequence[Interval]) -> dict[str, Any]:
    """Deliveries that are over, by the moment they were made."""
    return {**_sent(intervals), "intervals": [{"start": iso(one.since_ms), **_sent([one])} for one in intervals]}


def _ends(intervals: Sequence[Interval]) -> dict[str, Any]:
    sources = dict.fromkeys(source for _, source in COMPLETED + FAILED)
    return {
        "completed": total(intervals, COMPLETED),
        "failed": total(intervals, FAILED),
        "learned_from": {source: total(intervals, _from(source)) for source in sources},
        "turnaround_p50_ms": quantile(intervals, 0.5),
        "turnaround_p95_ms": quantile(intervals, 0.95),
    }


def _sent(intervals: Sequence[Interval]) -> dict[str, Any]:
    delivered, exhausted = total(intervals, DELIVERED), total(intervals, EXHAUSTED)
    over = delivered + exhausted
    return {
        "delivered": delivered,
        "exhausted": exhausted,
        "success_ratio": delivered / over if over else None,
        "p50_ms": quantile(intervals, 0.5),
        "p95_ms": quantile(intervals, 0.95),
    }


def _from(source: str) -> list[Kind]:
    return [kind for kind in COMPLETED + FAILED if kind[1] == source]
