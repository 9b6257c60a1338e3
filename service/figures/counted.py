"""Counts the hours that are over, so that no look at a month has to. Each process with a worker does it."""

from functools import partial

from service.clock import DAY_MS, MINUTE_MS
from service.relay import Relay
from service.store import hourly
from service.store.hourly import DELIVERIES, JOBS

SETTLES_MS = 5 * MINUTE_MS  # most deliveries of an hour are over then; later ones have it counted again
KEPT_MS = 32 * DAY_MS  # the longest window, and a little


async def count_hours(relay: Relay) -> int:
    """Count those that are not, newest first; gives back how many that were."""
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
