"""The state that all requests of a process share as `request.state`. `app.lifespan` creates it."""

import asyncio
from typing import TypedDict

from service.api.waiting import CompletionWaiter
from service.rate_limits import AnonymousRateLimiter, RateLimiter
from service.relay import Relay
from service.services.model_cache import ModelCache
from service.services.statistics import Statistics
from service.webhook import RecentCalls


class AppState(TypedDict):
    """The shared objects.

    `draining` is set when the process begins to stop. Then streams end, and /readyz answers 503.
    """

    relay: Relay
    model_cache: ModelCache
    completion_waiter: CompletionWaiter
    statistics: Statistics
    key_limiter: RateLimiter
    anonymous_limiter: AnonymousRateLimiter
    webhook_calls: RecentCalls
    draining: asyncio.Event
