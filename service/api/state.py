"""What the requests of one process share: made when it starts (`app.lifespan`), found as `request.state`."""

import asyncio
from typing import TypedDict

from service.api.waiting import Endings
from service.catalogue import Catalogue
from service.figures import Figures
from service.rate_limit import Limits
from service.relay import Relay
from service.strangers import Strangers
from service.webhook import RecentCalls


class AppState(TypedDict):
    """`draining` is set when the process begins to stop: then streams end, and /readyz says so."""

    relay: Relay
    catalogue: Catalogue
    endings: Endings
    figures: Figures
    limits: Limits
    strangers: Strangers
    webhook_calls: RecentCalls
    draining: asyncio.Event
