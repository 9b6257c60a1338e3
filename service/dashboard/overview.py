"""/ui: statistics of the service, and the list of what needs attention."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from service.api.deps import RelayDep, StatisticsDep
from service.dashboard.charts import alerts_of, charts_of, flow_of, gauges_of, share
from service.dashboard.render import render
from service.dashboard.session import HOME, FormOfSubmitter, ReaderSession, redirect_back
from service.errors import CallerError, InvalidRequestError
from service.services.deliveries import retry_delivery
from service.services.endpoints import change_endpoint, get_owned_endpoint, send_ping
from service.services.statistics import WINDOWS, Length
from service.services.transcriptions import get_owned_transcription, retry_transcription

router = APIRouter()


@router.get("/")
async def overview(
    request: Request, visitor: ReaderSession, statistics: StatisticsDep, window: Annotated[Length, Query()] = "24h"
) -> Response:
    found = await statistics.overview(visitor.caller.sees, window)
    return render(
        request,
        "overview.html",
        window=window,
        windows=list(WINDOWS),
        figures=found,
        told=share(found["jobs"]["learned_from"]["webhook"], sum(found["jobs"]["learned_from"].values())),
        flow=flow_of(found, is_admin=visitor.caller.is_admin),
        charts=charts_of(found),
        gauges=gauges_of(found),
        groups=alerts_of(found),
    )


@router.post("/attention")
async def run_action(request: Request, post: FormOfSubmitter, relay: RelayDep) -> Response:
    """Run the action of an entry in the attention list."""
    caller, subject = post.visitor.caller, post.get("id")
    try:
        match post.get("kind"):
            case "transcription_failed":
                await retry_transcription(relay, await get_owned_transcription(relay, subject, caller))
                said = "It is being retried."
            case "delivery_exhausted":
                await retry_delivery(relay, subject, caller)
                said = "It is being sent again, with all retries before it."
            case "endpoint_disabled":
                await change_endpoint(relay, subject, caller, {"enabled": True})
                said = "The endpoint is enabled; held deliveries are being sent."
            case "endpoint_failing":
                delivery, attempt = await send_ping(relay, await get_owned_endpoint(relay, subject, caller))
                said = f"The test was answered with {attempt.status_code or attempt.error}."
                return redirect_back(request, HOME, said, good=delivery.delivered_at_ms is not None)
            case _:
                raise InvalidRequestError("There is no such action.")
    except CallerError as error:
        return redirect_back(request, HOME, error.message, good=False)
    return redirect_back(request, HOME, said)
