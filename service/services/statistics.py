"""Statistics: open work, results per interval, liveness and quotas."""

import asyncio
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate, repeat
from typing import Any, Literal

from sqlmodel import Session

from service.clock import DAY_MS, HOUR_MS, MINUTE_MS, iso
from service.relay import Relay
from service.services.alerts import alerts
from service.store import hourly, statistics
from service.store import quotas as store_quotas
from service.store.hourly import DELIVERIES, JOBS
from service.store.quotas import usage
from service.store.statistics import COMPLETED, DELIVERED, EXHAUSTED, FAILED, Interval, Kind, StageCount, Window

Length = Literal["1h", "24h", "7d", "30d"]

WINDOWS: dict[Length, tuple[int, int]] = {
    "1h": (HOUR_MS, MINUTE_MS),
    "24h": (DAY_MS, 15 * MINUTE_MS),
    "7d": (7 * DAY_MS, 2 * HOUR_MS),
    "30d": (30 * DAY_MS, 6 * HOUR_MS),
}


def window_of(length: Length, now_ms: int) -> Window:
    """Return the window that ends now. Intervals start at full minutes or hours, so that charts are stable."""
    whole_ms, interval_ms = WINDOWS[length]
    first_ms = now_ms - whole_ms + interval_ms
    return Window(first_ms - first_ms % interval_ms, now_ms, interval_ms)


def total(intervals: Iterable[Interval], kinds: Sequence[Kind]) -> int:
    """Sum the counts of these kinds."""
    return sum(interval.counts[kind] for interval in intervals for kind in kinds)


def quantiles(intervals: Iterable[Interval], *parts: float) -> list[int | None]:
    """Return the quantile in ms for each of `parts` (0 to 1); None if there are no durations.

    An interval is weighted by its count, even if only some of its durations were read.
    """
    weighted = sorted(_weighted(intervals))
    reached = list(accumulate(weight for _, weight in weighted))
    return [weighted[bisect_left(reached, part * reached[-1] - 1e-9)][0] if reached else None for part in parts]


def _weighted(intervals: Iterable[Interval]) -> Iterator[tuple[int, float]]:
    """Yield each duration with its weight. A month has tens of thousands."""
    for interval in intervals:
        for kind, durations_ms in interval.durations_ms.items():
            yield from zip(durations_ms, repeat(interval.counts[kind] / len(durations_ms)), strict=False)


def job_results(parts: Sequence[Interval], window: Window) -> dict[str, Any]:
    """Return finished transcriptions by end time. `parts` are the window's intervals or shorter ones."""
    return _by_interval(parts, window, _ends)


def delivery_results(parts: Sequence[Interval], window: Window) -> dict[str, Any]:
    """Return finished deliveries by creation time. `parts` as in `job_results`."""
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


SETTLES_MS = 5 * MINUTE_MS  # by then most deliveries of an hour have finished; later ones cause a recount
KEPT_MS = 32 * DAY_MS  # a little more than the longest window


async def roll_up_hours(relay: Relay) -> int:
    """Create the missing hourly rollups, newest first. Returns how many were created."""
    now_ms, done = relay.clock(), 0
    for subject in (JOBS, DELIVERIES):
        since_ms, until_ms = now_ms - KEPT_MS, now_ms - SETTLES_MS
        uncounted = partial(hourly.uncounted_hours, subject=subject, since_ms=since_ms, until_ms=until_ms)
        missing = await relay.db.read(uncounted)
        for hour_ms in missing:
            done += await relay.db.write(partial(hourly.count_hours_once, subject=subject, hour_ms=hour_ms))
    if done:
        await relay.db.write(partial(hourly.delete_hours_before, before_ms=now_ms - KEPT_MS))
    return done


KEPT_TIMES = 20  # a result is kept for this many times its query time: queries take at most 5 % of the time


@dataclass(frozen=True)
class ResultHistory:
    """The results of a window, in its intervals or in hours, as counted at its end."""

    window: Window
    ended: Sequence[Interval]
    sent: Sequence[Interval]
    kept_until_s: float  # on the monotonic clock


@dataclass
class Statistics:
    """Computes statistics, and caches results that are slow to count. One instance per process."""

    relay: Relay
    _pasts: dict[tuple[str | None, Length], ResultHistory] = field(default_factory=dict)
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def overview(self, owner: str | None, length: Length) -> dict[str, Any]:
        """Return the statistics of an owner. With None: of all owners and of the service itself."""
        past = await self._past(owner, length)
        now_ms = self.relay.clock()
        current = await self.relay.db.read(lambda session: _current(self.relay, session, owner, past.window))
        return {
            "generated_at": iso(now_ms),
            "window": length,
            "since": iso(past.window.since_ms),
            "interval_s": past.window.interval_ms // 1000,
            "jobs": job_results(past.ended, past.window),
            "deliveries": delivery_results(past.sent, past.window),
            **current,
        }

    async def _past(self, owner: str | None, length: Length) -> ResultHistory:
        async with self._one_at_a_time:
            kept = self._pasts.get((owner, length))
            started_s = time.monotonic()
            if kept and started_s < kept.kept_until_s:
                return kept
            window = window_of(length, self.relay.clock())
            ended, sent = await self.relay.db.read(
                lambda session: (
                    hourly.finished_hours(session, JOBS, window, owner),
                    hourly.finished_hours(session, DELIVERIES, window, owner),
                )
            )
            now_s = time.monotonic()
            past = ResultHistory(window, ended, sent, now_s + KEPT_TIMES * (now_s - started_s))
            self._pasts = {key: one for key, one in self._pasts.items() if now_s < one.kept_until_s}
            self._pasts[owner, length] = past
            return past


def _current(relay: Relay, session: Session, owner: str | None, window: Window) -> dict[str, Any]:
    """Return the current stages, queues and alerts."""
    now_ms = relay.clock()
    queues = statistics.queue_lengths(session, owner)
    service = {} if owner is not None else _service_facts(relay, session, window)
    return {
        "stages": _standings(statistics.count_by_stage(session, owner), now_ms),
        "queues": _standings(queues, now_ms),
        "attention": [concern.shown() for concern in alerts(relay, session, owner, queues)],
        **service,
    }


def quotas(relay: Relay, session: Session) -> dict[str, dict[str, int]]:
    """Return usage and limits of Soniox's quotas. Foreign transcriptions and files lower the limits."""
    used, limits = usage(session), relay.governor.quotas
    requests = store_quotas.requests_in_window(session, relay.clock() // 1000)
    counted = {
        kind: {"used": getattr(used, kind), "limit": getattr(limits, kind)}
        for kind in ("pending", "transcriptions", "files")
    }
    per_minute = {"used": sum(requests.values()), "limit": relay.settings.relay_max_requests_per_minute}
    return {**counted, "requests_per_minute": per_minute}


def _service_facts(relay: Relay, session: Session, window: Window) -> dict[str, Any]:
    return {
        "reconciler_finds": statistics.findings(session, window.since_ms),
        "quotas": quotas(relay, session),
    }


def _standings(standings: Mapping[str, StageCount], now_ms: int) -> list[dict[str, Any]]:
    return [
        {"name": name, "count": one.count, "oldest_s": age_s(one.oldest_ms, now_ms)}
        for name, one in standings.items()
    ]


def age_s(since_ms: int | None, now_ms: int) -> float | None:
    """Return the seconds since `since_ms`."""
    return None if since_ms is None else max(0, now_ms - since_ms) / 1000
