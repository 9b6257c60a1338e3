"""/ui/live: a stream of server-sent events that makes live pages refresh when something changes.

The events carry no data: a page refreshes through the same route that renders it. The check for changes reads
the last entries of four indexes, so its cost does not depend on the number of jobs.
"""

import asyncio
import time
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from service.api.deps import RelayDep
from service.dashboard.session import ReaderSession
from service.relay import Relay
from service.store import system

router = APIRouter()

POLL_EVERY_S = 0.5
KEEPALIVE_EVERY_S = 15.0  # a refresh also updates the ages that a page shows
STREAM_LASTS_S = 600.0  # then the browser reconnects, and its session is checked again


@router.get("/live", response_class=EventSourceResponse)
async def stream(request: Request, relay: RelayDep, _visitor: ReaderSession) -> AsyncIterator[ServerSentEvent]:
    began_at = spoke_at = time.monotonic()
    seen = await _newest(relay)
    yield ServerSentEvent(retry=2000)
    while not request.state.draining.is_set() and time.monotonic() - began_at < STREAM_LASTS_S:
        await asyncio.sleep(POLL_EVERY_S)
        newest = await _newest(relay)
        if newest != seen or time.monotonic() - spoke_at > KEEPALIVE_EVERY_S:
            seen, spoke_at = newest, time.monotonic()
            yield ServerSentEvent(event="changed", data={})


async def _newest(relay: Relay) -> tuple[object, ...]:
    return await relay.db.read(system.change_marker)
