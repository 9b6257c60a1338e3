"""The web application: its routes, its startup and shutdown, and the worker in the same process."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypedDict

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse

from service import __version__, webhook
from service.api import (
    deliveries,
    endpoints,
    errors,
    events,
    files,
    health,
    keys,
    models,
    openapi,
    reconciler,
    recoveries,
    search,
    stats,
    transcriptions,
    transcripts,
)
from service.api.middleware import RequestMiddleware
from service.api.state import AppState
from service.api.waiting import CompletionWaiter
from service.background import run_background
from service.dashboard.app import create_dashboard
from service.db.engines import single_process_lock
from service.db.schema import check_schema
from service.errors import ConfigurationError
from service.rate_limits import AnonymousRateLimiter, RateLimiter
from service.relay import Relay, open_relay
from service.services.model_cache import open_model_cache
from service.services.statistics import Statistics
from service.settings import WEBHOOK_PATH, Settings

log = structlog.get_logger(__name__)


def create_app(settings: Settings, *, with_worker: bool = True) -> FastAPI:
    """Create the application. `with_worker` also runs the worker and the reconciler in this process."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[AppState]:
        async with AsyncExitStack() as stack:
            stack.enter_context(single_process_lock(settings))
            relay = await stack.enter_async_context(open_relay(settings))
            await refuse_old_schema(relay)
            state = await _state(relay, stack)
            if with_worker:
                await stack.enter_async_context(run_background(relay))
            log.info("relay_started", version=__version__, database=relay.db.dialect.name, worker=with_worker)
            yield state
            state["draining"].set()

    app = FastAPI(title="Soniox Relay", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(RequestMiddleware)
    errors.install(app)
    app.add_route(WEBHOOK_PATH, webhook.receive, methods=["POST"], include_in_schema=False)
    for module in (transcriptions, transcripts, files, models, search):
        app.include_router(module.router)
    for module in (endpoints, recoveries, events, deliveries, keys, reconciler, stats, health, openapi):
        app.include_router(module.router)
    app.add_route("/", _to_dashboard, include_in_schema=False)
    app.mount("/ui", create_dashboard())
    openapi.install(app)
    return app


async def _to_dashboard(_request: Request) -> Response:
    """Redirect the bare address to the dashboard."""
    return RedirectResponse("/ui/")


async def _state(relay: Relay, stack: AsyncExitStack) -> AppState:
    settings, completion_waiter = relay.settings, CompletionWaiter(relay)
    stack.push_async_callback(completion_waiter.stop)
    return AppState(
        relay=relay,
        model_cache=await stack.enter_async_context(open_model_cache(relay)),
        completion_waiter=completion_waiter,
        statistics=Statistics(relay),
        key_limiter=RateLimiter(settings.relay_key_requests_per_minute),
        anonymous_limiter=AnonymousRateLimiter(settings.relay_anonymous_requests_per_minute),
        webhook_calls=webhook.recent_calls(),
        draining=asyncio.Event(),
    )


class WatchState(TypedDict):
    """The request state of a worker process."""

    relay: Relay
    draining: asyncio.Event


def create_watch() -> FastAPI:
    """Create the application of a worker process: /livez, /readyz and /metrics. Its state is a `WatchState`."""
    app = FastAPI(title="Soniox Relay, worker", openapi_url=None)
    app.add_middleware(RequestMiddleware)
    errors.install(app)
    app.include_router(health.router)
    return app


async def refuse_old_schema(relay: Relay) -> None:
    """Raise ConfigurationError if this release cannot use the schema of the database."""
    found = await relay.db.read(lambda session: check_schema(session.connection()))
    if found:
        raise ConfigurationError(f"DATABASE_URL: the {found}")


def settle_memory() -> None:
    """Exclude the objects that exist now from garbage collection. Call it once, before serving.

    Measured: the p99 of an acknowledgement falls from 28 ms to 4 ms.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 50)
