"""The governor keeps the relay inside Soniox's quotas: work waits here, durable, instead of failing there.

Two things are rationed. Room (pending, transcriptions, files) is counted from our own rows at the very claim
(`store.room`). Requests per minute are spent from a window of 60 s that all processes share; each share has a
floor that the others leave alone, so that a sweep never starves a submission and clean-up never starves.

A refusal of the key (401, 402, 403) parks all work: one probe at a time goes out until one succeeds.
"""

import asyncio
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncConnection

from service.clock import Clock
from service.db import Database
from service.errors import SonioxError, SonioxKeyTrouble, SonioxOutOfRoom, SonioxRateLimited
from service.store import budget
from service.store.room import Quotas

FLOORS = {"live": 0.0, "clean": 0.2, "sweep": 0.1}  # part of the budget that nobody else may use
PROBE_EVERY_MS = 15_000
RATE_PAUSE_MS = 60_000
ROOM_PAUSE_MS = 30_000


@dataclass
class Governor:
    """Hands out permits for requests to Soniox and remembers why it does not."""

    db: Database
    clock: Clock
    requests_per_minute: int
    quotas: Quotas
    parked_reason: str | None = None
    _closed_until_ms: int = 0
    _no_room_until_ms: int = 0
    _no_room_reason: str = ""
    _waiting: dict[str, int] = field(default_factory=dict)

    async def permit(self, share: str) -> None:
        """Wait until a request of `share` may be made; the request counts from now on."""
        while True:
            await self._wait_while_closed()
            wait_s = await self.db.write_one_of(self._spend, share)
            if not wait_s:
                return
            await asyncio.sleep(wait_s)

    def may_submit(self) -> bool:
        """False while Soniox said that a quota is full, or refuses the key and no probe is due."""
        now_ms = self.clock()
        return now_ms >= self._no_room_until_ms and now_ms >= self._closed_until_ms

    def hear(self, error: SonioxError | None) -> None:
        """Learn from what a call came to; None for a success."""
        now_ms = self.clock()
        match error:
            case None:
                self.parked_reason = None
                self._no_room_reason = ""
            case SonioxKeyTrouble():
                self.parked_reason = f"{error.status_code} {error.error_type}: {error.message}"
                self._closed_until_ms = now_ms + PROBE_EVERY_MS
            case SonioxRateLimited():
                pause_ms = RATE_PAUSE_MS if error.retry_after_s is None else int(error.retry_after_s * 1000)
                self._closed_until_ms = max(self._closed_until_ms, now_ms + pause_ms)
            case SonioxOutOfRoom():
                self._no_room_until_ms = now_ms + ROOM_PAUSE_MS
                self._no_room_reason = error.message
            case _:
                pass

    def trouble(self) -> str | None:
        """Why work is not going on as it could, for operators; None when it is."""
        if self.parked_reason:
            return self.parked_reason
        return self._no_room_reason if self.clock() < self._no_room_until_ms else None

    async def _wait_while_closed(self) -> None:
        if (wait_ms := self._closed_until_ms - self.clock()) > 0:
            await asyncio.sleep(wait_ms / 1000)

    async def _spend(self, connection: AsyncConnection, shares: list[str]) -> list[float]:
        """Seconds to wait for each asker, 0 for a permit that was given."""
        await budget.lock(connection)
        now_s = self.clock() // 1000
        used = await budget.used(connection, now_s)
        given: dict[str, int] = {}
        waits = []
        for share in shares:
            allowed = may_spend(share, used, self.requests_per_minute)
            waits.append(0.0 if allowed else 0.5)
            if allowed:
                used[share] = used.get(share, 0) + 1
                given[share] = given.get(share, 0) + 1
        for share, number in given.items():
            await budget.spend(connection, share, number, now_s)
        return waits


def may_spend(share: str, used: dict[str, int], limit: int) -> bool:
    """One more request of `share` leaves the total within the limit and the floors of the others untouched."""
    kept = sum(
        max(0, int(limit * floor) - used.get(other, 0)) for other, floor in FLOORS.items() if other != share
    )
    return sum(used.values()) + kept < limit
