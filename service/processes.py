"""What runs beside the web routes, or alone in a worker process: the lanes and the reconciler's clock."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import structlog

from service.errors import Unavailable
from service.figures import count_hours
from service.lanes import lanes_of
from service.purge import purge_once, remove_cut_off_uploads, scrub
from service.reconcile.clock import Rhythm, run_when_due
from service.relay import Relay
from service.reseal import reseal
from service.store import events
from service.worker import Worker

log = structlog.get_logger(__name__)

LONGEST_PAUSE_S = 2.0  # between two ticks of the reconciler
PURGE_EVERY_S = 600
RESEAL_EVERY_S = 600
COUNT_EVERY_S = 60
SCRUB_EVERY_S = 86_400  # at the latest; a deletion has it done at once
SHORTEST_PAUSE_S = 20  # between two scrubs, however much is deleted


@asynccontextmanager
async def start_work(relay: Relay) -> AsyncIterator[None]:
    """Run worker and reconciler until the block ends, then let them finish."""
    await relay.db.write(events.adopt_restored)
    stop = asyncio.Event()
    tasks = [
        asyncio.create_task(Worker(relay, lanes_of(relay)).run(stop)),
        asyncio.create_task(_reconcile(relay, stop)),
        asyncio.create_task(_repeat(stop, lambda: _purge(relay))),
        asyncio.create_task(_repeat(stop, lambda: _scrub(relay))),
        asyncio.create_task(_repeat(stop, lambda: _reseal(relay))),
        asyncio.create_task(_repeat(stop, lambda: _count(relay))),
    ]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks)


async def _reconcile(relay: Relay, stop: asyncio.Event) -> None:
    rhythm = Rhythm()
    pause_s = min(relay.settings.relay_reconcile_interval_s / 4, LONGEST_PAUSE_S)
    while not stop.is_set():
        ticking = asyncio.create_task(_forgive("sweep", run_when_due(relay, rhythm)))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({ticking, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            await asyncio.wait({stopping}, timeout=pause_s)
        ticking.cancel()
        stopping.cancel()
        await asyncio.gather(ticking, stopping, return_exceptions=True)


async def _forgive(part: str, work: Coroutine[Any, Any, object]) -> None:
    """Do one piece of work; what goes wrong is logged, for the next time may do better."""
    try:
        await work
    except Unavailable as error:
        log.warning("worker_waits_for_database", part=part, reason=str(error))
    except Exception:
        log.exception("worker_part_broke", part=part)


async def _repeat(stop: asyncio.Event, turn: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Take turns, which end with their own pause, until `stop`; the last one is cut short."""
    stopping = asyncio.create_task(stop.wait())
    while not stop.is_set():
        taking = asyncio.create_task(turn())
        await asyncio.wait({taking, stopping}, return_when=asyncio.FIRST_COMPLETED)
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)


async def _purge(relay: Relay) -> None:
    await _forgive("purge", purge_once(relay))
    await _forgive("purge", remove_cut_off_uploads(relay))
    await asyncio.sleep(PURGE_EVERY_S)


async def _reseal(relay: Relay) -> None:
    await _forgive("reseal", reseal(relay))
    await asyncio.sleep(RESEAL_EVERY_S)


async def _count(relay: Relay) -> None:
    await _forgive("count", count_hours(relay))
    await asyncio.sleep(COUNT_EVERY_S)


async def _scrub(relay: Relay) -> None:
    await _forgive("scrub", scrub(relay))
    await asyncio.sleep(SHORTEST_PAUSE_S)
    await relay.wakeups.wait("scrub", SCRUB_EVERY_S)
