"""/ui/endpoints: the list of endpoints, their delivery success over time, and all actions on them."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ValidationError
from sqlmodel import Session

from service.api.deps import RelayDep
from service.api.endpoints import NewEndpoint, RecoveryRequest, RotationRequest
from service.api.pagination import decode_cursor
from service.dashboard.charts import WINDOWS, GridCell, Outcomes, edges_of, grid_row
from service.dashboard.render import first_page, page_after, render
from service.dashboard.session import FormOfSubmitter, ReaderSession, redirect_back
from service.errors import CallerError, InvalidRequestError
from service.event_types import EVENT_TYPES
from service.relay import Relay
from service.services.deliveries import count_undelivered, start_recovery
from service.services.endpoints import (
    change_endpoint,
    create_endpoint,
    delete_endpoint,
    get_owned_endpoint,
    masked_headers,
    rotate_secret,
    send_ping,
)
from service.store import deliveries, endpoints, hourly
from service.store.transcription_queries import Page
from service.tables import Delivery, Endpoint, Recovery

router = APIRouter()

ROWS = 10
DELIVERIES_SHOWN = 15


class EndpointsQuery(BaseModel):
    """The page of the list, and the time window of the delivery grid."""

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
        endpoint, secret = await create_endpoint(relay, post.visitor.caller, new.model_dump())
    except (ValidationError, InvalidRequestError) as error:
        values = {**given, "event_types": types}
        problems = _problems(error)
        return render(request, "endpoint_new.html", 400, given=values, problems=problems, event_types=EVENT_TYPES)
    return render(request, "endpoint_secret.html", 201, endpoint=endpoint, secret=secret, is_new=True)


@router.get("/endpoints/{endpoint_id}")
async def read(
    endpoint_id: str,
    request: Request,
    relay: RelayDep,
    visitor: ReaderSession,
    asked: Annotated[EndpointsQuery, Query()],
) -> Response:
    endpoint = await get_owned_endpoint(relay, endpoint_id, visitor.caller)
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
        headers=masked_headers(relay, endpoint),
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
    """Show how many deliveries a recovery would send again, without sending any."""
    endpoint = await get_owned_endpoint(relay, endpoint_id, visitor.caller)
    found = await count_undelivered(relay, endpoint_id, _moment_ms(since), visitor.caller) if since else None
    return render(request, "recover.html", endpoint=endpoint, since=since, count=found)


@router.post("/endpoints/{endpoint_id}/recover")
async def recover_endpoint(endpoint_id: str, request: Request, relay: RelayDep, post: FormOfSubmitter) -> Response:
    made = await start_recovery(relay, endpoint_id, _moment_ms(post.get("since")), post.visitor.caller)
    return redirect_back(request, f"/ui/endpoints/{endpoint_id}", f"Sending {made.expected} deliveries again.")


@router.post("/endpoints/{endpoint_id}/pause")
async def pause(endpoint_id: str, request: Request, relay: RelayDep, post: FormOfSubmitter) -> Response:
    await change_endpoint(relay, endpoint_id, post.visitor.caller, {"enabled": False})
    return redirect_back(
        request, f"/ui/endpoints/{endpoint_id}", "Paused. New deliveries are held until it is resumed."
    )


@router.post("/endpoints/{endpoint_id}/resume")
async def resume(endpoint_id: str, request: Request, relay: RelayDep, post: FormOfSubmitter) -> Response:
    await change_endpoint(relay, endpoint_id, post.visitor.caller, {"enabled": True})
    return redirect_back(request, f"/ui/endpoints/{endpoint_id}", "Resumed. Held deliveries are being sent.")


@router.post("/endpoints/{endpoint_id}/rotate")
async def rotate(endpoint_id: str, request: Request, relay: RelayDep, post: FormOfSubmitter) -> Response:
    rotated = await rotate_secret(relay, endpoint_id, post.visitor.caller, RotationRequest().overlap_s)
    return render(
        request,
        "endpoint_secret.html",
        endpoint=rotated.endpoint,
        secret=rotated.secret,
        until_ms=rotated.until_ms,
        is_new=False,
    )


@router.post("/endpoints/{endpoint_id}/test")
async def test(endpoint_id: str, request: Request, relay: RelayDep, post: FormOfSubmitter) -> Response:
    endpoint = await get_owned_endpoint(relay, endpoint_id, post.visitor.caller)
    delivery, attempt = await send_ping(relay, endpoint)
    delivered = delivery.delivered_at_ms is not None
    what = "The ping was accepted" if delivered else f"The ping failed: {attempt.error}"
    message = f"{what} ({attempt.status_code or 'no answer'} after {attempt.duration_ms} ms)."
    return redirect_back(request, f"/ui/endpoints/{endpoint_id}", message, good=delivered)


@router.post("/endpoints/{endpoint_id}/delete")
async def delete(endpoint_id: str, request: Request, relay: RelayDep, post: FormOfSubmitter) -> Response:
    await delete_endpoint(relay, endpoint_id, post.visitor.caller)
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
