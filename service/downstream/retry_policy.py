"""The retry policy: what follows from one attempt. No I/O.

A schedule with n waits gives n + 1 tries, the first one immediately. Jitter only lengthens a wait, and
`Retry-After` is the shortest wait. An endpoint that answers 410, or has only failed for DISABLE_AFTER_MS, is
disabled; its pending deliveries are held.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from service.clock import DAY_MS
from service.downstream.client import Outcome
from service.lifecycle import TRIPPED_AFTER, DeliveryStatus

JITTER = 0.1  # at most this part of a wait is added
DISABLE_AFTER_MS = 5 * DAY_MS
INITIAL_PAUSE_MS = 1_000
MAX_PAUSE_MS = 60_000
MAX_DOUBLINGS = 10


@dataclass(frozen=True)
class DeliveryHistory:
    """Earlier tries of the delivery, and consecutive failures of its receiver."""

    tries: int
    failures: int
    failing_since_ms: int | None
    may_be_disabled: bool


@dataclass(frozen=True)
class RetryDecision:
    """The new status and due time, the receiver's circuit breaker, and why to disable its endpoint."""

    status: DeliveryStatus
    due_at_ms: int | None = None
    circuit_open_until_ms: int | None = None
    disable: str | None = None


def decide(
    outcome: Outcome, past: DeliveryHistory, *, ended_ms: int, schedule: Sequence[float], chance: float
) -> RetryDecision:
    """Decide what follows. `chance` (0 to 1) scales the jitter; `schedule` has the waits in seconds."""
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
    """Return until when the circuit breaker stops all deliveries to this receiver, or None.

    After TRIPPED_AFTER consecutive failures the pause doubles each time, but never exceeds the failed
    delivery's wait: a receiver with a single delivery is not slowed down. A `Retry-After` also pauses the
    receiver's other deliveries, up to MAX_PAUSE_MS.
    """
    pause_ms = min(asked_ms, MAX_PAUSE_MS)
    if past.failures + 1 >= TRIPPED_AFTER:
        doublings = min(past.failures + 1 - TRIPPED_AFTER, MAX_DOUBLINGS)
        backoff_ms = min(INITIAL_PAUSE_MS << doublings, MAX_PAUSE_MS)
        pause_ms = max(pause_ms, backoff_ms if wait_ms is None else min(backoff_ms, wait_ms))
    return ended_ms + pause_ms if pause_ms else None
