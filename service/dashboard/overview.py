"""/ui: how the whole is doing, and what needs a hand."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from service.api import deliveries, endpoints, transcriptions
from service.api.deps import RelayDep, StatisticsDep
from service.api.endpoints import EndpointChanges
from service.dashboard.charts import alerts_of, charts_of, flow_of, gauges_of, share
from service.dashboard.render import render
from service.dashboard.session import HOME, FormOfSubmitter, ReaderSession, redirect_back
from service.errors import CallerError, InvalidRequestError
from service.services.statistics import WINDOWS, Length

router = APIRouter()


@router.get("/")
async def overview(
    request: Request, visitor: ReaderSession, figures: StatisticsDep, window: Annotated[Length, Query()] = "24h"
) -> Response:
    found = await figures.overview(visitor.caller.sees, window)
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
    """Do what a line of the list offers, with the API's own function for it."""
    caller, subject = post.visitor.caller, post.get("id")
    try:
        match post.get("kind"):
            case "transcription_failed":
                await transcriptions.retry(subject, caller, relay)
                said = "It is tried again."
            case "delivery_exhausted":
                await deliveries.retry(subject, caller, relay)
                said = "It is sent again, with all tries before it."
            case "endpoint_disabled":
                await endpoints.change(subject, EndpointChanges(enabled=True), caller, relay)
                said = "The endpoint is enabled; what was held for it is on its way."
            case "endpoint_failing":
                tried = await endpoints.test(subject, caller, relay)
                answer = tried.attempt.status_code or tried.attempt.error
                return redirect_back(request, HOME, f"The test was answered with {answer}.", good=tried.delivered)
            case _:
                raise InvalidRequestError("There is no such deed.")
    except CallerError as error:
        return redirect_back(request, HOME, error.message, good=False)
    return redirect_back(request, HOME, said)
