"""Events: read them page by page, or follow them as server-sent events.

Both read the log in the order of `store.events`, where no event appears behind a reader. If an event was
deleted with its transcription, the time in its id gives the position. Some events may then repeat, but none
is missed.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from service import tables
from service.api.deps import Reader, RelayDep
from service.api.pagination import NextCursor
from service.api.responses import COMMON_RESPONSES
from service.errors import InvalidCursorError, InvalidRequestError
from service.event_types import EventName, check_names
from service.ids import new_id, time_of_id
from service.relay import Relay
from service.schemas import DeletedTranscription, DisabledEndpoint, FinishedTranscription, Moment, Open, Pinged
from service.store import events as store_events
from service.store.events import START, EventFilter, Position

router = APIRouter(prefix="/v1/events", tags=["Events"], responses=COMMON_RESPONSES)

POLL_EVERY_S = 1.0
BATCH = 200
CLOCKS_APART_MS = 60_000  # the most by which an event's time may precede its commit

Types = Annotated[list[str] | None, Query(description="Types, with commas between them; none: all.")]


class EventPublic(Open):
    """What is sent to endpoints, and its id."""

    id: str
    type: EventName
    timestamp: Moment
    data: FinishedTranscription | DeletedTranscription | DisabledEndpoint | Pinged


class EventPage(Open):
    """Some events."""

    events: list[EventPublic]
    next_page_cursor: NextCursor


@router.get("", summary="Read events, oldest first", response_model=EventPage)
async def list_after(
    caller: Reader,
    relay: RelayDep,
    after: Annotated[str, Query(description="Id of the last event you have; empty: from the beginning.")] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    types: Types = None,
) -> Response:
    wanted = EventFilter(caller.sees, _types(types))
    position = await _position(relay, after)
    found = await relay.db.read(lambda session: store_events.after(session, position, wanted, limit + 1))
    page = found[:limit]
    more = page[-1].id if len(found) > limit else None
    body = {"events": [msgspec.Raw(event_document(event)) for event in page], "next_page_cursor": more}
    return Response(msgspec.json.encode(body), media_type="application/json")


@dataclass(frozen=True)
class StreamStart:
    """The position and filter of a stream. `hello` is the id of that position for a new reader, else empty."""

    wanted: EventFilter
    position: Position
    hello: str


async def _start(
    caller: Reader,
    relay: RelayDep,
    last_event_id: Annotated[str | None, Header()] = None,
    after: Annotated[str | None, Query(description="As Last-Event-ID; empty: from the beginning.")] = None,
    types: Types = None,
) -> StreamStart:
    """Return where the stream begins.

    Raises InvalidCursorError and InvalidRequestError, before the response starts.
    """
    wanted = EventFilter(caller.sees, _types(types))
    known = last_event_id or after
    hello = "" if known is not None else await _newest_id(relay)
    return StreamStart(wanted, await _position(relay, known if known is not None else hello), hello)


@router.get("/stream", summary="Follow events as server-sent events", response_class=EventSourceResponse)
async def stream(
    request: Request, relay: RelayDep, start: Annotated[StreamStart, Depends(_start)]
) -> AsyncIterator[ServerSentEvent]:
    """Without `Last-Event-ID` and `after` it begins with what happens from now on. It ends when the service stops.

    The first message tells a new reader where it stands, so that it misses nothing even if the connection breaks
    before the first event. A comment comes when nothing else did for 15 seconds.
    """
    yield ServerSentEvent(id=start.hello or None, retry=1000)
    position = start.position
    while not request.state.draining.is_set():
        read = partial(store_events.follow, position=position, wanted=start.wanted, limit=BATCH)
        found, position = await relay.db.read(read)
        for event in found:
            yield ServerSentEvent(id=event.id, event=event.type, raw_data=event_document(event).decode())
        if len(found) < BATCH:
            await relay.notifier.wait("events", POLL_EVERY_S)


def event_document(event: tables.Event) -> bytes:
    """Return the event as JSON: the body that endpoints receive, with the id of the event."""
    return b'{"id":"' + event.id.encode() + b'",' + event.body[1:]


async def _position(relay: Relay, event_id: str) -> Position:
    """Return the position after this event; the start of the log for an empty id. Raises InvalidCursorError."""
    if not event_id:
        return START
    moment_ms = time_of_id(event_id)
    if moment_ms is None or not event_id.startswith("evt_"):
        raise InvalidCursorError("`after` and Last-Event-ID are ids of events, such as evt_0197...")
    return await relay.db.read(
        lambda session: (
            store_events.position_of(session, event_id)
            or store_events.position_before(session, moment_ms - CLOCKS_APART_MS)
        )
    )


async def _newest_id(relay: Relay) -> str:
    """Return the id of the newest event, or a new id with the current time if the log is empty."""
    newest = await relay.db.read(store_events.newest_position)
    return newest.id if newest else new_id("evt", relay.clock())


def _types(given: Sequence[str] | None) -> tuple[str, ...]:
    names = [name.strip() for part in given or () for name in part.split(",") if name.strip()]
    try:
        return tuple(check_names(names))
    except ValueError as error:
        problem = ("query.types", str(error))
        raise InvalidRequestError(f"Invalid request: {error}", problems=(problem,)) from None
