"""What follows from one try: delivered, when to try again, or not at all. Pure.

With n waits in the schedule there are n + 1 tries, the first one at once. Jitter is only ever added, and a
`Retry-After` is never undercut. An endpoint that asks for no more (410), or has done nothing but fail for
DISABLE_AFTER_MS, is disabled; what was on its way is then held, not given up.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from service.clock import DAY_MS
from service.downstream.send import Outcome
from service.lifecycle import TRIPPED_AFTER, DeliveryStatus

JITTER = 0.1  # at most this share of a wait is added
DISABLE_AFTER_MS = 5 * DAY_MS
FIRST_PAUSE_MS = 1_000
LONGEST_PAUSE_MS = 60_000
MOST_DOUBLINGS = 10


@dataclass(frozen=True)
class Past:
    """What went before: tries of this delivery; failures in a row of its receiver, and since when."""

    tries: int
    failures: int
    failing_since_ms: int | None
    may_be_disabled: bool


@dataclass(frozen=True)
class Verdict:
    """What the delivery becomes, when it is due again, and what it means for its receiver."""

    status: DeliveryStatus
    due_at_ms: int | None = None
    closed_until_ms: int | None = None
    disable: str | None = None


def judge(outcome: Outcome, past: Past, *, ended_ms: int, schedule: Sequence[float], chance: float) -> Verdict:
    """Decide. `chance` is between 0 and 1, `schedule` has the waits between tries in seconds."""
    if outcome.delivered:
        return Verdict(DeliveryStatus.DELIVERED)
    if reason := _why_disable(outcome, past, ended_ms):
        return Verdict(DeliveryStatus.PENDING, disable=reason)
    asked_ms = int((outcome.retry_after_s or 0) * 1000)
    if outcome.wants_no_more or past.tries >= len(schedule):
        return Verdict(DeliveryStatus.EXHAUSTED, closed_until_ms=_closed(past, ended_ms, asked_ms, None))
    wait_ms = max(int(schedule[past.tries] * 1000 * (1 + JITTER * chance)), asked_ms)
    closed_until_ms = _closed(past, ended_ms, asked_ms, wait_ms)
    return Verdict(DeliveryStatus.PENDING, ended_ms + wait_ms, closed_until_ms)


def _why_disable(outcome: Outcome, past: Past, ended_ms: int) -> str | None:
    if not past.may_be_disabled:
        return None
    if outcome.wants_no_more:
        return "the receiver answered 410 Gone"
    since_ms = past.failing_since_ms
    if since_ms is not None and ended_ms - since_ms >= DISABLE_AFTER_MS and past.failures >= TRIPPED_AFTER:
        return f"nothing but failures for {DISABLE_AFTER_MS // DAY_MS} days"
    return None


def _closed(past: Past, ended_ms: int, asked_ms: int, wait_ms: int | None) -> int | None:
    """Until when nothing at all is sent to this receiver.

    After some failures in a row it is left alone for longer and longer, but never beyond the next try of the
    delivery that failed: a receiver with a single delivery is not slowed down. What it asks for itself holds for
    its other deliveries too, up to LONGEST_PAUSE_MS.
    """
    pause_ms = min(asked_ms, LONGEST_PAUSE_MS)
    if past.failures + 1 >= TRIPPED_AFTER:
        doublings = min(past.failures + 1 - TRIPPED_AFTER, MOST_DOUBLINGS)
        backoff_ms = min(FIRST_PAUSE_MS << doublings, LONGEST_PAUSE_MS)
        pause_ms = max(pause_ms, backoff_ms if wait_ms is None else min(backoff_ms, wait_ms))
    return ended_ms + pause_ms if pause_ms else None
