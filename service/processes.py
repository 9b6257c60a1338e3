"""What runs beside the web routes, or alone in a worker process: the lanes and the reconciler's clock."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from service import reconcile
from service.errors import Unavailable
from service.lanes import lanes_of
from service.relay import Relay
from service.worker import Worker

log = structlog.get_logger(__name__)


@asynccontextmanager
async def start_work(relay: Relay) -> AsyncIterator[None]:
    """Run worker and reconciler until the block ends, then let them finish."""
    stop = asyncio.Event()
    tasks = [
        asyncio.create_task(Worker(relay, lanes_of(relay)).run(stop)),
        asyncio.create_task(_sweep(relay, stop)),
    ]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks)


async def _sweep(relay: Relay, stop: asyncio.Event) -> None:
    while not stop.is_set():
        sweeping = asyncio.create_task(_sweep_once(relay))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({sweeping, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            sweeping.cancel()
        stopping.cancel()
        await asyncio.gather(sweeping, stopping, return_exceptions=True)


async def _sweep_once(relay: Relay) -> None:
    try:
        await reconcile.run_once(relay)
    except Unavailable as error:
        log.warning("sweep_waits_for_database", reason=str(error))
    except Exception:  # the next sweep may do better
        log.exception("sweep_broke")
    await asyncio.sleep(relay.settings.relay_reconcile_interval_s)
