"""What follows from one try: delivered, when to try again, or not at all. Pure.

With n waits in the schedule there are n + 1 tries, the first one at once. Jitter is only ever added, and a
`Retry-After` is never undercut. An endpoint that asks for no more (410), or has done nothing but fail for
DISABLE_AFTER_MS, is disabled; what was on its way is then held, not given up.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from service.clock import DAY_MS
from service.downstream.client import Outcome
from service.lifecycle import TRIPPED_AFTER, DeliveryStatus

JITTER = 0.1  # at most this share of a wait is added
DISABLE_AFTER_MS = 5 * DAY_MS
INITIAL_PAUSE_MS = 1_000
MAX_PAUSE_MS = 60_000
MAX_DOUBLINGS = 10


@dataclass(frozen=True)
class DeliveryHistory:
    """What went before: tries of this delivery; failures in a row of its receiver, and since when."""

    tries: int
    failures: int
    failing_since_ms: int | None
    may_be_disabled: bool


@dataclass(frozen=True)
class RetryDecision:
    """What the delivery becomes, when it is due again, and what it means for its receiver."""

    status: DeliveryStatus
    due_at_ms: int | None = None
    circuit_open_until_ms: int | None = None
    disable: str | None = None


def decide(
    outcome: Outcome, past: DeliveryHistory, *, ended_ms: int, schedule: Sequence[float], chance: float
) -> RetryDecision:
    """Decide. `chance` is between 0 and 1, `schedule` has the waits between tries in seconds."""
    if outcome.delivered:
        return RetryDecision(DeliveryStatus.DELIVERED)
    if reason := _disable_reason(outcome, past, ended_ms):
        return RetryDecision(DeliveryStatus.PENDING, disable=reason)
    asked_ms = int((outcome.retry_after_s or 0) * 1000)
    if outcome.wants_no_more or past.tries >= len(schedule):
        return RetryDecision(
            DeliveryStatus.EXHAUSTED, circuit_open_until_ms=_circuit_open(past, ended_ms, asked_ms, None)
        )
    wait_ms = max(int(schedule[past.tries] * 1000 * (1 + JITTER * chance)), asked_ms)
    circuit_open_until_ms = _circuit_open(past, ended_ms, asked_ms, wait_ms)
    return RetryDecision(DeliveryStatus.PENDING, ended_ms + wait_ms, circuit_open_until_ms)


def _disable_reason(outcome: Outcome, past: DeliveryHistory, ended_ms: int) -> str | None:
    if not past.may_be_disabled:
        return None
    if outcome.wants_no_more:
        return "the receiver answered 410 Gone"
    since_ms = past.failing_since_ms
    if since_ms is not None and ended_ms - since_ms >= DISABLE_AFTER_MS and past.failures >= TRIPPED_AFTER:
        return f"nothing but failures for {DISABLE_AFTER_MS // DAY_MS} days"
    return None


def _circuit_open(past: DeliveryHistory, ended_ms: int, asked_ms: int, wait_ms: int | None) -> int | None:
    """Until when nothing at all is sent to this receiver.

    After some failures in a row it is left alone for longer and longer, but never beyond the next try of the
    delivery that failed: a receiver with a single delivery is not slowed down. What it asks for itself holds for
    its other deliveries too, up to LONGEST_PAUSE_MS.
    """
    pause_ms = min(asked_ms, MAX_PAUSE_MS)
    if past.failures + 1 >= TRIPPED_AFTER:
        doublings = min(past.failures + 1 - TRIPPED_AFTER, MAX_DOUBLINGS)
        backoff_ms = min(INITIAL_PAUSE_MS << doublings, MAX_PAUSE_MS)
        pause_ms = max(pause_ms, backoff_ms if wait_ms is None else min(backoff_ms, wait_ms))
    return ended_ms + pause_ms if pause_ms else None
