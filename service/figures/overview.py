"""All figures together, as `GET /v1/stats` answers them."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlmodel import Session

from service.clock import iso
from service.figures import results
from service.figures.attention import concerns
from service.figures.windows import Length, window_of
from service.relay import Relay
from service.store import hourly, statistics
from service.store import quotas as store_quotas
from service.store.hourly import DELIVERIES, JOBS
from service.store.quotas import usage
from service.store.statistics import Interval, StageCount, Window

KEPT_TIMES = 20  # what was long to count is kept for so many times as long: counting takes 5 % of the time at most


@dataclass(frozen=True)
class Past:
    """What happened in a window, as counted at its end, in its intervals or in hours."""

    window: Window
    ended: Sequence[Interval]
    sent: Sequence[Interval]
    kept_until_s: float  # on the monotonic clock


@dataclass
class Figures:
    """Gives the figures, and keeps those for a moment that are long to count. One for each process."""

    relay: Relay
    _pasts: dict[tuple[str | None, Length], Past] = field(default_factory=dict)
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def overview(self, owner: str | None, length: Length) -> dict[str, Any]:
        """The figures of what is `owner`'s; with None those of everybody and of the service itself."""
        past = await self._past(owner, length)
        now_ms = self.relay.clock()
        current = await self.relay.db.read(lambda session: _current(self.relay, session, owner, past.window))
        return {
            "generated_at": iso(now_ms),
            "window": length,
            "since": iso(past.window.since_ms),
            "interval_s": past.window.interval_ms // 1000,
            "jobs": results.jobs(past.ended, past.window),
            "deliveries": results.deliveries(past.sent, past.window),
            **current,
        }

    async def _past(self, owner: str | None, length: Length) -> Past:
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
            past = Past(window, ended, sent, now_s + KEPT_TIMES * (now_s - started_s))
            self._pasts = {key: one for key, one in self._pasts.items() if now_s < one.kept_until_s}
            self._pasts[owner, length] = past
            return past


def _current(relay: Relay, session: Session, owner: str | None, window: Window) -> dict[str, Any]:
    """How things stand now."""
    now_ms = relay.clock()
    queues = statistics.queue_lengths(session, owner)
    service = {} if owner is not None else _of_the_service(relay, session, window)
    return {
        "stages": _standings(statistics.count_by_stage(session, owner), now_ms),
        "queues": _standings(queues, now_ms),
        "attention": [concern.shown() for concern in concerns(relay, session, owner, queues)],
        **service,
    }


def quotas(relay: Relay, session: Session) -> dict[str, dict[str, int]]:
    """What is used of what Soniox allows; transcriptions and files that others hold there lower our limit."""
    used, limits = usage(session), relay.governor.quotas
    requests = store_quotas.requests_in_window(session, relay.clock() // 1000)
    counted = {
        kind: {"used": getattr(used, kind), "limit": getattr(limits, kind)}
        for kind in ("pending", "transcriptions", "files")
    }
    per_minute = {"used": sum(requests.values()), "limit": relay.settings.relay_max_requests_per_minute}
    return {**counted, "requests_per_minute": per_minute}


def _of_the_service(relay: Relay, session: Session, window: Window) -> dict[str, Any]:
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
    """Seconds since then."""
    return None if since_ms is None else max(0, now_ms - since_ms) / 1000
