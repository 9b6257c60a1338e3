"""/ui/endpoints: who is told, how that goes, and all that can be done about it."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ValidationError
from sqlmodel import Session

from service.api import endpoints as api
from service.api.deps import RelayDep
from service.api.endpoints import EndpointChanges, NewEndpoint, RecoveryRequest
from service.api.pagination import decode_cursor
from service.api.recoveries import count, start_recovery
from service.dashboard.charts import WINDOWS, GridCell, Outcomes, edges_of, grid_row
from service.dashboard.render import first_page, page_after, render
from service.dashboard.session import FormOfSubmitter, ReaderSession, redirect_back
from service.errors import CallerError, InvalidRequestError
from service.event_types import EVENT_TYPES
from service.relay import Relay
from service.store import deliveries, endpoints, hourly
from service.store.transcription_queries import Page
from service.tables import Delivery, Endpoint, Recovery

router = APIRouter()

ROWS = 10
DELIVERIES_SHOWN = 15


class EndpointsQuery(BaseModel):
    """Which part of the list, and how far back its grid looks."""

    window: Literal["24h", "7d", "30d"] = "24h"
    cursor: str = ""


@router.get("/endpoints")
async def list_page(
    request: Request, relay: RelayDep, visitor: ReaderSession, asked: Annotated[EndpointsQuery, Query()]
) -> Response:
    found = await relay.db.read(
        lambda session: endpoints.page(session, visitor.caller.sees, Page(ROWS, decode_cursor(asked.cursor)))
    )
    here = found[:ROWS]
    return render(
        request,
        "endpoints.html",
        endpoints=here,
        grid={endpoint.id: await _delivery_grid(relay, endpoint, asked.window) for endpoint in here},
        windows=WINDOWS,
        asked=asked,
        first=first_page(request),
        older=page_after(request, here[-1]) if len(found) > ROWS else "",
    )


@router.get("/endpoints/new")
async def form(request: Request, visitor: ReaderSession) -> Response:
    return render(request, "endpoint_new.html", given={}, problems=[], event_types=EVENT_TYPES)


@router.post("/endpoints")
async def create(request: Request, relay: RelayDep, post: FormOfSubmitter) -> Response:
    given = {name: post.get(name).strip() for name in ("url", "description", "include")}
    types = post.all("event_types")
    try:
        new = NewEndpoint.model_validate(
            {**given, "description": given["description"] or None, "event_types": types}
        )
        made = await api.create(new, post.visitor.caller, relay)
    except (ValidationError, InvalidRequestError) as error:
        values = {**given, "event_types": types}
        problems = _problems(error)
        return render(request, "endpoint_new.html", 400, given=values, problems=problems, event_types=EVENT_TYPES)
    return render(request, "endpoint_secret.html", 201, endpoint=made, is_new=True)


@router.get("/endpoints/{endpoint_id}")
async def read(
    endpoint_id: str,
    request: Request,
    relay: RelayDep,
    visitor: ReaderSession,
    asked: Annotated[EndpointsQuery, Query()],
) -> Response:
    endpoint = await api.get_owned_endpoint(relay, endpoint_id, visitor.caller)
    chosen = deliveries.DeliveryFilter(visitor.caller.sees, endpoint.id)

    def query(session: Session) -> tuple[list[Delivery], dict[str, int], list[Recovery]]:
        sent = deliveries.page(session, chosen, Page(DELIVERIES_SHOWN))
        tried = deliveries.count_attempts(session, [one.id for one in sent])
        return sent, tried, deliveries.recoveries_of(session, endpoint.id)

    sent, tried, ordered = await relay.db.read(query)
    return render(
        request,
        "endpoint.html",
        endpoint=endpoint,
        shown=api.shown(relay, endpoint),
        cells=await _delivery_grid(relay, endpoint, asked.window),
        windows=WINDOWS,
        asked=asked,
        sent=sent[:DELIVERIES_SHOWN],
        tried=tried,
        recoveries=ordered[:5],
    )


@router.get("/endpoints/{endpoint_id}/recover")
async def preview_recovery(
    endpoint_id: str, request: Request, relay: RelayDep, visitor: ReaderSession, since: str = ""
) -> Response:
    """How many a recovery would send again; nothing is sent."""
    endpoint = await api.get_owned_endpoint(relay, endpoint_id, visitor.caller)
    found = await count(relay, endpoint_id, _moment_ms(since), visitor.caller) if since else None
    return render(request, "recover.html", endpoint=endpoint, since=since, count=found and found.count)


@router.post("/endpoints/{endpoint_id}/recover")
async def recover_endpoint(endpoint_id: str, request: Request, relay: RelayDep, post: FormOfSubmitter) -> Response:
    made = await start_recovery(relay, endpoint_id, _moment_ms(post.get("since")), post.visitor.caller)
    return redirect_back(request, f"/ui/endpoints/{endpoint_id}", f"Sending {made.count} deliveries again.")


@router.post("/endpoints/{endpoint_id}/pause")
async def pause(endpoint_id: str, request: Request, relay: RelayDep, post: FormOfSubmitter) -> Response:
    await api.change(endpoint_id, EndpointChanges(enabled=False), post.visitor.caller, relay)
    return redirect_back(request, f"/ui/endpoints/{endpoint_id}", "Paused. What comes meanwhile is held for it.")


@router.post("/endpoints/{endpoint_id}/resume")
async def resume(endpoint_id: str, request: Request, relay: RelayDep, post: FormOfSubmitter) -> Response:
    await api.change(endpoint_id, EndpointChanges(enabled=True), post.visitor.caller, relay)
    return redirect_back(request, f"/ui/endpoints/{endpoint_id}", "It goes on; what was held is being sent.")


@router.post("/endpoints/{endpoint_id}/rotate")
async def rotate(endpoint_id: str, request: Request, relay: RelayDep, post: FormOfSubmitter) -> Response:
    made = await api.rotate_secret(endpoint_id, post.visitor.caller, relay)
    return render(request, "endpoint_secret.html", endpoint=made, is_new=False)


@router.post("/endpoints/{endpoint_id}/test")
async def test(endpoint_id: str, request: Request, relay: RelayDep, post: FormOfSubmitter) -> Response:
    came = await api.test(endpoint_id, post.visitor.caller, relay)
    attempt = came.attempt
    what = "It took the test" if came.delivered else f"It did not take the test: {attempt.error}"
    message = f"{what} ({attempt.status_code or 'no answer'} after {attempt.duration_ms} ms)."
    return redirect_back(request, f"/ui/endpoints/{endpoint_id}", message, good=came.delivered)


@router.post("/endpoints/{endpoint_id}/delete")
async def delete(endpoint_id: str, request: Request, relay: RelayDep, post: FormOfSubmitter) -> Response:
    await api.delete(endpoint_id, post.visitor.caller, relay)
    return redirect_back(request, "/ui/endpoints", f"Deleted endpoint {endpoint_id}.")


async def _delivery_grid(relay: Relay, endpoint: Endpoint, window: str) -> list[GridCell]:
    edges = edges_of(WINDOWS[window], relay.clock())
    found = await relay.db.read(lambda session: hourly.outcomes(session, endpoint.id, edges))
    return grid_row(edges, {one.step: Outcomes(one.delivered, one.exhausted, one.pending) for one in found})


def _moment_ms(since: str) -> int:
    try:
        return RecoveryRequest.model_validate({"since": since}).since
    except ValidationError:
        raise InvalidRequestError("Give a moment such as 2026-11-20T13:00.") from None


def _problems(error: ValidationError | CallerError) -> list[str]:
    if isinstance(error, CallerError):
        return [error.message]
    return [
        f"{'.'.join(map(str, one['loc']))}: {one['msg'].removeprefix('Value error, ')}" for one in error.errors()
    ]
