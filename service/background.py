"""Background tasks of a process: the worker, the reconciler and periodic maintenance."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import structlog

from service.errors import UnavailableError
from service.queues import queues_of
from service.reconcile.scheduler import SchedulerState, run_when_due
from service.relay import Relay
from service.services.maintenance import erase_deleted, purge_expired, reencrypt, remove_incomplete_uploads
from service.services.statistics import roll_up_hours
from service.store import events
from service.worker import Worker

log = structlog.get_logger(__name__)

MAX_PAUSE_S = 2.0  # between two ticks of the reconciler
PURGE_EVERY_S = 600
REENCRYPT_EVERY_S = 600
ROLLUP_EVERY_S = 60
SCRUB_EVERY_S = 86_400  # without deletions; a deletion wakes the task earlier
MIN_PAUSE_S = 20  # between two scrubs


@asynccontextmanager
async def run_background(relay: Relay) -> AsyncIterator[None]:
    """Run the worker, the reconciler and maintenance until the block ends, then wait for them to stop."""
    await relay.db.write(events.adopt_restored)
    stop = asyncio.Event()
    tasks = [
        asyncio.create_task(Worker(relay, queues_of(relay)).run(stop)),
        asyncio.create_task(_run_reconciler(relay, stop)),
        asyncio.create_task(_run_periodically(stop, lambda: _purge_step(relay))),
        asyncio.create_task(_run_periodically(stop, lambda: _scrub_step(relay))),
        asyncio.create_task(_run_periodically(stop, lambda: _reencrypt_step(relay))),
        asyncio.create_task(_run_periodically(stop, lambda: _rollup_step(relay))),
    ]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks)


async def _run_reconciler(relay: Relay, stop: asyncio.Event) -> None:
    state = SchedulerState()
    pause_s = min(relay.settings.relay_reconcile_interval_s / 4, MAX_PAUSE_S)
    while not stop.is_set():
        ticking = asyncio.create_task(_log_errors("sweep", run_when_due(relay, state)))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({ticking, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            await asyncio.wait({stopping}, timeout=pause_s)
        ticking.cancel()
        stopping.cancel()
        await asyncio.gather(ticking, stopping, return_exceptions=True)


async def _log_errors(part: str, work: Coroutine[Any, Any, object]) -> None:
    """Await `work` and log its errors instead of raising them; the caller repeats it later."""
    try:
        await work
    except UnavailableError as error:
        log.warning("worker_waits_for_database", part=part, reason=str(error))
    except Exception:
        log.exception("worker_task_failed", part=part)


async def _run_periodically(stop: asyncio.Event, turn: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Call `turn` repeatedly until `stop` is set, then cancel the current call. Each call ends with a pause."""
    stopping = asyncio.create_task(stop.wait())
    while not stop.is_set():
        taking = asyncio.create_task(turn())
        await asyncio.wait({taking, stopping}, return_when=asyncio.FIRST_COMPLETED)
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)


async def _purge_step(relay: Relay) -> None:
    await _log_errors("purge", purge_expired(relay))
    await _log_errors("purge", remove_incomplete_uploads(relay))
    await asyncio.sleep(PURGE_EVERY_S)


async def _reencrypt_step(relay: Relay) -> None:
    await _log_errors("reseal", reencrypt(relay))
    await asyncio.sleep(REENCRYPT_EVERY_S)


async def _rollup_step(relay: Relay) -> None:
    await _log_errors("count", roll_up_hours(relay))
    await asyncio.sleep(ROLLUP_EVERY_S)


async def _scrub_step(relay: Relay) -> None:
    await _log_errors("scrub", erase_deleted(relay))
    await asyncio.sleep(MIN_PAUSE_S)
    await relay.notifier.wait("scrub", SCRUB_EVERY_S)
