"""The governor keeps the relay inside Soniox's quotas: work waits here, durable, instead of failing there.

Room (pending, transcriptions, files) is counted from our own rows at the very claim (`store.room`), less what
others hold at Soniox. Requests per minute are spent from a window of 60 s that all processes share; each share
has a floor that the others leave alone, so that a sweep never starves a submission, nor a submission the
clean-up.

Trouble closes the gate: a rate limit for as long as Soniox asks, a refused key (401, 402, 403) or an outage
until a probe comes through. While it is closed one request at a time goes out as the probe.
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

RESERVED = {"live": 0.0, "clean": 0.2, "sweep": 0.1}  # part of the budget that nobody else may use
OUTAGE_AFTER = 12  # passing failures in a row
MAX_PROBE_WAIT_MS = 10_000
RETRY_EVERY_S = 0.5
BUSY_S = 0.01  # another process counts for so long at least


@dataclass
class Governor:
    """Hands out permits for requests to Soniox and remembers why it does not."""

    db: Database
    clock: Clock
    requests_per_minute: int
    limits: Quotas
    rng: random.Random = field(default_factory=random.Random)
    key_probe_every_ms: int = 15_000
    rate_pause_ms: int = 60_000  # when Soniox does not say how long
    quota_pause_ms: int = 15_000
    foreign_usage: QuotaUsage = field(
        default_factory=lambda: QuotaUsage(0, 0, 0)
    )  # what is not ours at Soniox, as last counted
    quota_refusals: int = 0  # how often Soniox said that a quota is full
    _reason: str | None = None  # why the gate is closed
    _closed_until_ms: int = 0
    _hard_block: bool = (
        False  # a success does not open it before its time: Soniox said how long, or refused the key
    )
    _probe_until_ms: int = 0  # while a probe is out
    _failures: int = 0  # in a row
    _quota_full_until_ms: int = 0
    _quota_full_reason: str = ""

    @property
    def quotas(self) -> Quotas:
        """What is left to the relay."""
        limits, others = self.limits, self.foreign_usage
        return Quotas(limits.pending, limits.transcriptions - others.transcriptions, limits.files - others.files)

    async def acquire(self, traffic_class: str) -> None:
        """Wait until a request of `share` may be made; the request counts from now on."""
        await self._wait_until_open()
        while not (spent := await self.db.write(partial(self._spend, traffic_class=traffic_class))):  # noqa: ASYNC110  # the window moves by itself
            await asyncio.sleep(RETRY_EVERY_S if spent is False else BUSY_S)

    def _spend(self, session: Session, traffic_class: str) -> bool | None:
        """Spend one request if the window still holds it; None while another process counts."""
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
        """False while new work would only be refused. When a pause is over, the next job may be the probe."""
        now_ms = self.clock()
        return now_ms >= self._quota_full_until_ms and (self._reason is None or self._may_probe(now_ms))

    def record_result(self, error: SonioxError | None) -> None:
        """Learn from what a request came to; None for one that was answered as wished."""
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
        """Why work is not going on as it could, for operators; None when it is."""
        return self._reason or (self._quota_full_reason if self.clock() < self._quota_full_until_ms else None)

    def _count_failure(self, error: SonioxError) -> None:
        """Many in a row are an outage; one of a probe lets the next probe go after a short wait."""
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
        """Unless the time for it has not come: an answer may belong to a request from before."""
        self._failures = 0
        if self._hard_block and self.clock() < self._closed_until_ms:
            return
        if self._reason is not None:
            log.info("soniox_unblocked", after=self._reason)
        self._reason = None
        self._closed_until_ms = 0
        telemetry.soniox_blocked.set(0)

    async def _wait_until_open(self) -> None:
        """Wait while it is closed; when its time is over, the first to ask is the probe."""
        while self._reason is not None:
            now_ms = self.clock()
            if self._may_probe(now_ms):
                self._probe_until_ms = now_ms + MAX_PROBE_WAIT_MS  # one that never reports is replaced
                return
            await asyncio.sleep(RETRY_EVERY_S)

    def _may_probe(self, now_ms: int) -> bool:
        """The pause is over and no probe is out."""
        return now_ms >= max(self._closed_until_ms, self._probe_until_ms)


def is_allowed(traffic_class: str, used: dict[str, int], limit: int) -> bool:
    """One more request of `share` leaves the total within the limit and the floors of the others untouched."""
    kept = sum(
        max(0, int(limit * floor) - used.get(other, 0))
        for other, floor in RESERVED.items()
        if other != traffic_class
    )
    return sum(used.values()) + kept < limit
