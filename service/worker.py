"""The worker: claims due rows and runs the matching step, lane by lane. It knows no vendor.

Each lane keeps as many steps running as it may. It sleeps until somebody rings, until the next row becomes due
(asked when none was), or for a slow poll at most, which is the net under the other two. A lane that was idle
claims at once, a busy one lets rings come together. Leases are short and renewed while a step runs; a step that
ends in an unforeseen error has its row put aside for a while, so that one bad row stops nobody.
"""

import asyncio
import functools
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import structlog
from sqlmodel import Session

from service import telemetry
from service.errors import Unavailable
from service.lifecycle import backoff_ms
from service.relay import Relay
from service.store import claims, system
from service.store.claims import Claimant
from service.tables import Due

log = structlog.get_logger(__name__)

LEASE_MS = 20_000
RENEW_EVERY_S = 5.0
POLL_EVERY_S = 1.0  # for what no ring tells of: leases that ended, room that others made, an endpoint's rate
IDLE_POLL_S = 5.0  # when nothing is due at all: only rings that were lost
GATHER_S = 0.02  # between two claims of a lane: under load one claim serves several rings
STOP_WITHIN_S = 5.0

Turn = Callable[[], Awaitable[None]]
Claim = Callable[[Session, Claimant, int], Sequence[Any]]


@dataclass(frozen=True)
class Lane:
    """One kind of work: how to claim its rows and what to do with one."""

    name: str
    model: type[Due]
    claim: Claim  # takes a session, who claims, and how many rows at most
    step: Callable[[Relay, Any], Awaitable[None]]
    at_once: int
    job_of: Callable[[Any], str | None]  # the transcription that a row is about, for the log
    may_claim: Callable[[], bool] = lambda: True


class _Found(NamedTuple):
    """What came of filling a lane: whether there was anything, and when the next row becomes due."""

    any: bool
    next_due_ms: int | None


@dataclass
class Worker:
    """Runs lanes until told to stop."""

    relay: Relay
    lanes: Sequence[Lane]
    _running: dict[asyncio.Task[None], tuple[Lane, Any]] = field(default_factory=dict)
    _busy: Counter[str] = field(default_factory=Counter)  # steps that run, by lane
    _unrung: set[str] = field(default_factory=set)  # lanes that woke last because their time was over

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then finish or give back what is under way."""
        if self.relay.db.is_sqlite:
            await self._release(None)  # the only process: whoever held a lease is dead
        turns: dict[str, Turn] = {lane.name: functools.partial(self._serve, lane) for lane in self.lanes}
        turns["leases"] = self._stay_alive
        loops = [asyncio.create_task(self._forever(part, turn), name=part) for part, turn in turns.items()]
        await stop.wait()
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        await self._wind_up()

    async def _forever(self, part: str, turn: Turn) -> None:
        """Take turns, whatever happens: a fault costs a pause, never the loop."""
        while True:
            try:
                await turn()
            except Unavailable as error:
                log.warning("worker_waits_for_database", part=part, reason=str(error))
                await asyncio.sleep(POLL_EVERY_S)
            except Exception:  # a bug must not stop the lane
                log.exception("worker_part_broke", part=part)
                await asyncio.sleep(POLL_EVERY_S)

    async def _serve(self, lane: Lane) -> None:
        began_s = time.monotonic()
        found = await self._fill(lane)
        await asyncio.sleep(max(0.0, began_s + GATHER_S - time.monotonic()))
        rests = not found.any and lane.may_claim() and lane.name in self._unrung and await self._is_idle(lane)
        sleep_s = IDLE_POLL_S if rests else POLL_EVERY_S
        if found.next_due_ms is not None:
            sleep_s = min(sleep_s, max(0.001, (found.next_due_ms - self.relay.clock()) / 1000))
        rung = await self.relay.wakeups.wait(lane.name, sleep_s)
        (self._unrung.discard if rung else self._unrung.add)(lane.name)

    async def _is_idle(self, lane: Lane) -> bool:
        """Nothing waits for its turn. Asked in quiet times only: it passes all that was just done in the index."""
        return not await self.relay.db.read(
            lambda session: claims.is_any_due(session, lane.model, self.relay.clock())
        )

    async def _fill(self, lane: Lane) -> _Found:
        """Claim as long as there is both work and a free hand; a full lane is woken by its own steps."""
        any_found = False
        while (free := lane.at_once - self._busy[lane.name]) > 0 and lane.may_claim():
            claimant = Claimant(self.relay.name, self.relay.clock(), LEASE_MS)
            claim = functools.partial(_claim, lane=lane, claimant=claimant, free=free)
            rows, next_due_ms = await self.relay.db.write(claim)
            any_found = any_found or bool(rows)
            for row in rows:
                self._begin(lane, row, claimant.now_ms + LEASE_MS)
            if len(rows) < free:
                return _Found(any_found, next_due_ms)
        return _Found(any_found, None)

    def _begin(self, lane: Lane, row: Any, lease_until_ms: int) -> None:
        self.relay.leases.hold(row.id, lease_until_ms)
        task = asyncio.create_task(self._run_step(lane, row))
        self._running[task] = (lane, row)
        self._busy[lane.name] += 1
        task.add_done_callback(self._free_a_hand)

    async def _run_step(self, lane: Lane, row: Any) -> None:
        structlog.contextvars.bind_contextvars(lane=lane.name, job_id=lane.job_of(row))  # for this task alone
        try:
            await lane.step(self.relay, row)
        except Unavailable as error:
            log.warning("step_waits_for_database", row_id=row.id, reason=str(error))
        except Exception as error:  # a bug must not stop the lane
            telemetry.step_errors.labels(lane.name).inc()
            log.exception("step_failed", row_id=row.id)
            await self._put_aside(lane, row, error)

    def _free_a_hand(self, task: asyncio.Task[None]) -> None:
        """Wake the lane, once the task no longer counts: at once if it was full, else when others went first."""
        lane, row = self._running.pop(task)
        was_full = self._busy[lane.name] == lane.at_once
        self._busy[lane.name] -= 1
        self.relay.leases.drop(row.id)
        ring = functools.partial(self.relay.wakeups.ring_here, lane.name)
        asyncio.get_running_loop().call_later(0 if was_full else GATHER_S, ring)

    async def _put_aside(self, lane: Lane, row: Any, error: Exception) -> None:
        wait_ms = backoff_ms(row.tries, first_ms=5_000, longest_ms=600_000, chance=self.relay.chance)
        due_at_ms = self.relay.clock() + wait_ms

        def put_aside(session: Session) -> None:
            reason = f"unforeseen error: {type(error).__name__}"
            claims.postpone(session, lane.model, row, due_at_ms=due_at_ms, error=reason)

        try:
            await self.relay.db.write(put_aside)
        except Unavailable:
            log.warning("row_left_to_its_lease", row_id=row.id)

    async def _stay_alive(self) -> None:
        """Renew the leases of what is under way, and give a sign of life."""
        now_ms = self.relay.clock()
        until_ms = now_ms + LEASE_MS
        said = {"running": len(self._running), "trouble": self.relay.governor.trouble()}
        for model, rows in self._held().items():
            renew = functools.partial(claims.renew, model=model, held=rows, until_ms=until_ms)
            for row_id in await self.relay.db.write(renew):
                self.relay.leases.renew(row_id, until_ms)
        beat = functools.partial(
            system.record_heartbeat, name=f"worker:{self.relay.name}", at_ms=now_ms, detail=said
        )
        await self.relay.db.write(beat)
        await asyncio.sleep(RENEW_EVERY_S)

    def _held(self) -> dict[type[Due], list[tuple[str, int]]]:
        """Id and fence of each row under way."""
        held: dict[type[Due], list[tuple[str, int]]] = {}
        for lane, row in self._running.values():
            held.setdefault(lane.model, []).append((row.id, row.fence))
        return held

    async def _wind_up(self) -> None:
        """Let steps end for a moment, then drop them: their rows go back at once."""
        if self._running:
            await asyncio.wait(list(self._running), timeout=STOP_WITHIN_S)
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._release(self.relay.name)

    async def _release(self, worker: str | None) -> None:
        """End the leases of `worker`, or of all workers for None."""
        now_ms = self.relay.clock()
        try:
            for lane in self.lanes:
                release = functools.partial(claims.release, model=lane.model, worker=worker, now_ms=now_ms)
                await self.relay.db.write(release)
        except Unavailable:
            log.warning("leases_left_to_end_by_themselves")


def _claim(session: Session, lane: Lane, claimant: Claimant, free: int) -> tuple[Sequence[Any], int | None]:
    """Rows for so many free hands; if there is none, when the next one becomes due."""
    rows = lane.claim(session, claimant, free)
    return rows, None if rows else claims.next_due_ms(session, lane.model, claimant.now_ms)
