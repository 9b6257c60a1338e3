"""/ui/inbox: what Soniox told us, and how its calls were answered."""

from typing import NamedTuple

from fastapi import APIRouter, Query, Request, Response

from service.api.auth import RelayOf
from service.api.cursors import decode, encode
from service.dashboard.render import render
from service.dashboard.visitors import Admin
from service.dashboard.words import median
from service.store import inbox as store_inbox
from service.tables import Webhook
from service.webhook import RecentCall

router = APIRouter()

ROWS = 25
CALLS = 12
REASONS = {
    200: "stored",
    400: "no notice of Soniox's",
    401: "header missing or wrong",
    405: "not a POST",
    408: "body too slow",
    413: "body too long",
    503: "database did not take it",
}


class Seen(NamedTuple):
    """One of the last calls, and why it was answered so."""

    call: RecentCall
    reason: str


@router.get("/inbox")
async def inbox(request: Request, relay: RelayOf, _visitor: Admin, cursor: str = Query("")) -> Response:
    position = decode(cursor)
    found, waiting = await relay.db.read(
        lambda session: (
            store_inbox.page(session, position[1] if position else None, ROWS),
            store_inbox.count_open(session),
        )
    )
    calls = list(reversed(request.state.webhook_calls))
    return render(
        request,
        "inbox.html",
        rows=found[:ROWS],
        waiting=waiting,
        next_cursor=_cursor_behind(found),
        is_first=not cursor,
        calls=[Seen(call, REASONS.get(call.status_code, "refused")) for call in calls[:CALLS]],
        refused=sum(call.status_code >= 400 for call in calls),
        median_us=median([call.took_us for call in calls if call.status_code == 200]),
    )


def _cursor_behind(found: list[Webhook]) -> str:
    """Of the next page; empty when this is the last."""
    last = found[ROWS - 1] if len(found) > ROWS else None
    return encode(last.received_at_ms, last.id) if last else ""
