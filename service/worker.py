"""The worker: claims due rows of each queue and runs its step. It has no code for Soniox.

Each queue runs steps up to its concurrency. It sleeps until it is notified, until the next row is due, or for a
poll interval, which covers lost notifications. An idle queue claims immediately; a busy one combines several
notifications. Leases are short and renewed while a step runs. After an unexpected error the row is postponed,
so that one bad row does not block the queue.
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
from service.errors import UnavailableError
from service.lifecycle import backoff_ms
from service.relay import Relay
from service.store import claims, system
from service.store.claims import Claimant
from service.tables import QueueColumns

log = structlog.get_logger(__name__)

LEASE_MS = 20_000
RENEW_EVERY_S = 5.0
POLL_EVERY_S = 1.0  # for changes without a notification: ended leases, room at Soniox, an endpoint's rate limit
IDLE_POLL_S = 5.0  # when nothing is due: only for lost notifications
BATCHING_S = 0.02  # between two claims of a queue: under load one claim serves several notifications
STOP_WITHIN_S = 5.0

Turn = Callable[[], Awaitable[None]]
Claim = Callable[[Session, Claimant, int], Sequence[Any]]


@dataclass(frozen=True)
class Queue:
    """One kind of work: how its rows are claimed, and the step that processes one."""

    name: str
    model: type[QueueColumns]
    claim: Claim  # (session, claimant, limit)
    step: Callable[[Relay, Any], Awaitable[None]]
    concurrency: int
    transcription_id_of: Callable[[Any], str | None]  # for the log
    is_enabled: Callable[[], bool] = lambda: True


class _Claimed(NamedTuple):
    """The result of a claim: whether it found rows, and when the next row is due."""

    any: bool
    next_due_ms: int | None


@dataclass
class Worker:
    """Runs the steps of all queues."""

    relay: Relay
    queues: Sequence[Queue]
    _running: dict[asyncio.Task[None], tuple[Queue, Any]] = field(default_factory=dict)
    _busy: Counter[str] = field(default_factory=Counter)  # running steps by queue
    _timed_out: set[str] = field(default_factory=set)  # queues whose last sleep ended without a notification

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set, then finish the running steps or release their rows."""
        if self.relay.db.is_sqlite:
            await self._release(None)  # SQLite has one process: all leases are left from before a restart
        turns: dict[str, Turn] = {queue.name: functools.partial(self._poll, queue) for queue in self.queues}
        turns["leases"] = self._heartbeat
        loops = [asyncio.create_task(self._supervise(part, turn), name=part) for part, turn in turns.items()]
        await stop.wait()
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        await self._drain()

    async def _supervise(self, part: str, turn: Turn) -> None:
        """Call `turn` forever. An error is logged and followed by a pause."""
        while True:
            try:
                await turn()
            except UnavailableError as error:
                log.warning("worker_waits_for_database", part=part, reason=str(error))
                await asyncio.sleep(POLL_EVERY_S)
            except Exception:  # a bug must not stop the queue
                log.exception("worker_task_failed", part=part)
                await asyncio.sleep(POLL_EVERY_S)

    async def _poll(self, queue: Queue) -> None:
        began_s = time.monotonic()
        found = await self._claim_rows(queue)
        await asyncio.sleep(max(0.0, began_s + BATCHING_S - time.monotonic()))
        rests = (
            not found.any and queue.is_enabled() and queue.name in self._timed_out and await self._is_idle(queue)
        )
        sleep_s = IDLE_POLL_S if rests else POLL_EVERY_S
        if found.next_due_ms is not None:
            sleep_s = min(sleep_s, max(0.001, (found.next_due_ms - self.relay.clock()) / 1000))
        notified = await self.relay.notifier.wait(queue.name, sleep_s)
        (self._timed_out.discard if notified else self._timed_out.add)(queue.name)

    async def _is_idle(self, queue: Queue) -> bool:
        """Return whether no row is due. Slow after busy times: it scans recently finished rows in the index."""
        return not await self.relay.db.read(
            lambda session: claims.is_any_due(session, queue.model, self.relay.clock())
        )

    async def _claim_rows(self, queue: Queue) -> _Claimed:
        """Claim rows while rows are due and slots are free. A full queue wakes when one of its steps ends."""
        any_found = False
        while (free := queue.concurrency - self._busy[queue.name]) > 0 and queue.is_enabled():
            claimant = Claimant(self.relay.process_id, self.relay.clock(), LEASE_MS)
            claim = functools.partial(_claim, queue=queue, claimant=claimant, free=free)
            rows, next_due_ms = await self.relay.db.write(claim)
            any_found = any_found or bool(rows)
            for row in rows:
                self._start(queue, row, claimant.now_ms + LEASE_MS)
            if len(rows) < free:
                return _Claimed(any_found, next_due_ms)
        return _Claimed(any_found, None)

    def _start(self, queue: Queue, row: Any, lease_until_ms: int) -> None:
        self.relay.leases.hold(row.id, lease_until_ms)
        task = asyncio.create_task(self._run_step(queue, row))
        self._running[task] = (queue, row)
        self._busy[queue.name] += 1
        task.add_done_callback(self._on_done)

    async def _run_step(self, queue: Queue, row: Any) -> None:
        structlog.contextvars.bind_contextvars(queue=queue.name, job_id=queue.transcription_id_of(row))
        try:
            await queue.step(self.relay, row)
        except UnavailableError as error:
            log.warning("step_waits_for_database", row_id=row.id, reason=str(error))
        except Exception as error:  # a bug must not stop the queue
            telemetry.step_errors.labels(queue.name).inc()
            log.exception("step_failed", row_id=row.id)
            await self._postpone_failed(queue, row, error)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        """Free the slot and wake the queue: immediately if it was full, else after BATCHING_S."""
        queue, row = self._running.pop(task)
        was_full = self._busy[queue.name] == queue.concurrency
        self._busy[queue.name] -= 1
        self.relay.leases.drop(row.id)
        ring = functools.partial(self.relay.notifier.notify_local, queue.name)
        asyncio.get_running_loop().call_later(0 if was_full else BATCHING_S, ring)

    async def _postpone_failed(self, queue: Queue, row: Any, error: Exception) -> None:
        wait_ms = backoff_ms(row.tries, first_ms=5_000, longest_ms=600_000, rng=self.relay.rng)
        due_at_ms = self.relay.clock() + wait_ms

        def postpone(session: Session) -> None:
            reason = f"unforeseen error: {type(error).__name__}"
            claims.postpone(session, queue.model, row, due_at_ms=due_at_ms, error=reason)

        try:
            await self.relay.db.write(postpone)
        except UnavailableError:
            log.warning("postpone_failed", row_id=row.id)

    async def _heartbeat(self) -> None:
        """Renew the leases of running steps, and record a heartbeat."""
        now_ms = self.relay.clock()
        until_ms = now_ms + LEASE_MS
        said = {"running": len(self._running), "trouble": self.relay.governor.blocked_reason()}
        for model, rows in self._held().items():
            renew = functools.partial(claims.renew, model=model, held=rows, until_ms=until_ms)
            for row_id in await self.relay.db.write(renew):
                self.relay.leases.renew(row_id, until_ms)
        beat = functools.partial(
            system.record_heartbeat, name=f"worker:{self.relay.process_id}", at_ms=now_ms, detail=said
        )
        await self.relay.db.write(beat)
        await asyncio.sleep(RENEW_EVERY_S)

    def _held(self) -> dict[type[QueueColumns], list[tuple[str, int]]]:
        """Return id and fence of the row of each running step."""
        held: dict[type[QueueColumns], list[tuple[str, int]]] = {}
        for queue, row in self._running.values():
            held.setdefault(queue.model, []).append((row.id, row.fence))
        return held

    async def _drain(self) -> None:
        """Wait up to STOP_WITHIN_S for running steps, then cancel them and release their rows."""
        if self._running:
            await asyncio.wait(list(self._running), timeout=STOP_WITHIN_S)
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._release(self.relay.process_id)

    async def _release(self, worker: str | None) -> None:
        """End the leases of `worker`, or of all workers if it is None."""
        now_ms = self.relay.clock()
        try:
            for queue in self.queues:
                release = functools.partial(claims.release, model=queue.model, worker=worker, now_ms=now_ms)
                await self.relay.db.write(release)
        except UnavailableError:
            log.warning("lease_release_failed")


def _claim(session: Session, queue: Queue, claimant: Claimant, free: int) -> tuple[Sequence[Any], int | None]:
    """Claim up to `free` rows. If there are none, also return when the next one is due."""
    rows = queue.claim(session, claimant, free)
    return rows, None if rows else claims.next_due_ms(session, queue.model, claimant.now_ms)
