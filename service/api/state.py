"""What the requests of one process share: made when it starts (`app.lifespan`), found as `request.state`."""

import asyncio
from typing import TypedDict

from service.api.waiting import CompletionWaiter
from service.rate_limits import AnonymousRateLimiter, RateLimiter
from service.relay import Relay
from service.services.model_cache import ModelCache
from service.services.statistics import Statistics
from service.webhook import RecentCalls


class AppState(TypedDict):
    """`draining` is set when the process begins to stop: then streams end, and /readyz says so."""

    relay: Relay
    catalogue: ModelCache
    endings: CompletionWaiter
    figures: Statistics
    limits: RateLimiter
    strangers: AnonymousRateLimiter
    webhook_calls: RecentCalls
    draining: asyncio.Event
