"""The governor keeps the relay within Soniox's quotas: jobs wait in the database instead of failing at Soniox.

The quotas of pending jobs, transcriptions and files are checked when a job is claimed
(`store.quotas.claim_submissions`): usage is counted from our own rows, and foreign usage lowers the limit. All
processes share a rate window of 60 s. Some traffic classes have a reserved part of it, so that no class starves
another.

A rate limit, a refused key (401, 402, 403) or an outage opens the circuit breaker. A rate limit keeps it open
as long as Soniox asks; the others, until a probe succeeds. After each pause, one request at a time is a probe.
"""

import asyncio
import random
from dataclasses import dataclass, field
from functools import partial

import structlog
from sqlmodel import Session

from service import telemetry
from service.clock import Clock
from service.db.database import Database
from service.errors import (
    SonioxAuthError,
    SonioxError,
    SonioxOutcomeUnknownError,
    SonioxQuotaExceededError,
    SonioxRateLimitedError,
    SonioxUnreachableError,
)
from service.lifecycle import backoff_ms
from service.store import quotas as store_quotas
from service.store.quotas import Quotas, QuotaUsage

log = structlog.get_logger(__name__)

# The part of the rate window that other traffic classes cannot use.
RESERVED = {"live": 0.0, "clean": 0.2, "sweep": 0.1}
OUTAGE_AFTER = 12  # consecutive failures without a usable response
MAX_PROBE_WAIT_MS = 10_000
RETRY_EVERY_S = 0.5
BUSY_S = 0.01  # wait while another process holds the lock of the rate window


@dataclass
class Governor:
    """Permits requests to Soniox, and knows why they are blocked when they are."""

    db: Database
    clock: Clock
    requests_per_minute: int
    limits: Quotas
    rng: random.Random = field(default_factory=random.Random)
    key_probe_every_ms: int = 15_000
    rate_pause_ms: int = 60_000  # if Soniox sends no Retry-After
    quota_pause_ms: int = 15_000
    # Usage at Soniox that is not this relay's, as last counted by the reconciler.
    foreign_usage: QuotaUsage = field(default_factory=lambda: QuotaUsage(0, 0, 0))
    quota_refusals: int = 0  # responses that report a full quota
    _reason: str | None = None  # why requests are blocked; None if they are not
    _closed_until_ms: int = 0  # no probe before this time
    # A success does not end the block early: Soniox set its duration, or refused the key.
    _hard_block: bool = False
    _probe_until_ms: int = 0  # no second probe before this time
    _failures: int = 0  # consecutive
    _quota_full_until_ms: int = 0
    _quota_full_reason: str = ""

    @property
    def quotas(self) -> Quotas:
        """The limits of this relay: the configured ones less foreign usage."""
        limits, others = self.limits, self.foreign_usage
        return Quotas(limits.pending, limits.transcriptions - others.transcriptions, limits.files - others.files)

    async def acquire(self, traffic_class: str) -> None:
        """Wait until a request of this traffic class is permitted, and count it in the rate window."""
        await self._wait_until_open()
        while not (spent := await self.db.write(partial(self._spend, traffic_class=traffic_class))):  # noqa: ASYNC110  # only time frees it
            await asyncio.sleep(RETRY_EVERY_S if spent is False else BUSY_S)

    def _spend(self, session: Session, traffic_class: str) -> bool | None:
        """Count one request and return True if the rate window has room for it.

        None if another process holds the lock.
        """
        if not store_quotas.try_lock_rate_window(session):
            return None
        now_s = self.clock() // 1000
        allowed = is_allowed(
            traffic_class, store_quotas.requests_in_window(session, now_s), self.requests_per_minute
        )
        if allowed:
            store_quotas.count_requests(session, traffic_class, now_s)
        return allowed

    def may_submit(self) -> bool:
        """Return whether a job may be submitted now. After a pause the next job may be the probe."""
        now_ms = self.clock()
        return now_ms >= self._quota_full_until_ms and (self._reason is None or self._may_probe(now_ms))

    def record_result(self, error: SonioxError | None) -> None:
        """Update the circuit breaker with the result of a request. `error` is None for a success."""
        match error:
            case SonioxAuthError():
                self._close(
                    f"{error.status_code} {error.error_type}: {error.message}", self.key_probe_every_ms, firm=True
                )
            case SonioxRateLimitedError():
                pause_ms = self.rate_pause_ms if error.retry_after_s is None else int(error.retry_after_s * 1000)
                self._close("Soniox limits the rate of requests", pause_ms, firm=True)
            case SonioxOutcomeUnknownError() | SonioxUnreachableError():
                self._count_failure(error)
            case _:
                self._open()
                if isinstance(error, SonioxQuotaExceededError):
                    self.quota_refusals += 1
                    telemetry.soniox_quota_exceeded.inc()
                    log.error("soniox_quota_exceeded", reason=error.message)
                    self._quota_full_until_ms = self.clock() + self.quota_pause_ms
                    self._quota_full_reason = error.message

    def blocked_reason(self) -> str | None:
        """Return why requests are blocked or a quota is full, for operators. None if neither is so."""
        return self._reason or (self._quota_full_reason if self.clock() < self._quota_full_until_ms else None)

    def _count_failure(self, error: SonioxError) -> None:
        """Count a failure. OUTAGE_AFTER in a row are an outage. After a failed probe, the next one waits."""
        self._failures += 1
        tries = max(0, self._failures - OUTAGE_AFTER)
        wait_ms = backoff_ms(tries, longest_ms=MAX_PROBE_WAIT_MS, rng=self.rng)
        if self._failures >= OUTAGE_AFTER:
            self._close(f"Soniox is out of order: {error.message}", wait_ms, firm=False)
        elif self._reason is not None:
            self._probe_until_ms = min(self._probe_until_ms, self.clock() + wait_ms)

    def _close(self, reason: str, wait_ms: int, *, firm: bool) -> None:
        if self._reason is None:
            log.error("soniox_blocked", reason=reason)
        self._reason = reason
        self._hard_block = firm
        self._closed_until_ms = max(self._closed_until_ms, self.clock() + wait_ms)
        self._probe_until_ms = 0
        telemetry.soniox_blocked.set(1)

    def _open(self) -> None:
        """End the block. A hard block ends only after its time: the success may be of an earlier request."""
        self._failures = 0
        if self._hard_block and self.clock() < self._closed_until_ms:
            return
        if self._reason is not None:
            log.info("soniox_unblocked", after=self._reason)
        self._reason = None
        self._closed_until_ms = 0
        telemetry.soniox_blocked.set(0)

    async def _wait_until_open(self) -> None:
        """Wait while requests are blocked. After the pause, the first caller returns and is the probe."""
        while self._reason is not None:
            now_ms = self.clock()
            if self._may_probe(now_ms):
                self._probe_until_ms = now_ms + MAX_PROBE_WAIT_MS  # a probe without a result is replaced
                return
            await asyncio.sleep(RETRY_EVERY_S)

    def _may_probe(self, now_ms: int) -> bool:
        """Return whether the pause is over and no probe is under way."""
        return now_ms >= max(self._closed_until_ms, self._probe_until_ms)


def is_allowed(traffic_class: str, used: dict[str, int], limit: int) -> bool:
    """Return whether one more request fits the limit and leaves the reserves of the other traffic classes."""
    kept = sum(
        max(0, int(limit * floor) - used.get(other, 0))
        for other, floor in RESERVED.items()
        if other != traffic_class
    )
    return sum(used.values()) + kept < limit
