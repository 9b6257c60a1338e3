"""/ui: how the whole is doing, and what needs a hand."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from service.api import deliveries, endpoints, transcriptions
from service.api.auth import FiguresOf, RelayOf
from service.api.subscription import ChangedEndpoint
from service.dashboard.pictures import charts_of, concerns_of, flow_of, gauges_of, share
from service.dashboard.posts import Submitted, back
from service.dashboard.render import render
from service.dashboard.visitors import HOME, Reader
from service.errors import CallerError, InvalidRequest
from service.services.statistics import WINDOWS, Length

router = APIRouter()


@router.get("/")
async def overview(
    request: Request, visitor: Reader, figures: FiguresOf, window: Annotated[Length, Query()] = "24h"
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
        groups=concerns_of(found),
    )


@router.post("/attention")
async def mend(request: Request, post: Submitted, relay: RelayOf) -> Response:
    """Do what a line of the list offers, with the API's own function for it."""
    caller, subject = post.visitor.caller, post.get("id")
    try:
        match post.get("kind"):
            case "transcription_failed":
                await transcriptions.retry_one(subject, caller, relay)
                said = "It is tried again."
            case "delivery_exhausted":
                await deliveries.retry(subject, caller, relay)
                said = "It is sent again, with all tries before it."
            case "endpoint_disabled":
                await endpoints.change(subject, ChangedEndpoint(enabled=True), caller, relay)
                said = "The endpoint is enabled; what was held for it is on its way."
            case "endpoint_failing":
                tried = await endpoints.test(subject, caller, relay)
                answer = tried.attempt.status_code or tried.attempt.error
                return back(request, HOME, f"The test was answered with {answer}.", good=tried.delivered)
            case _:
                raise InvalidRequest("There is no such deed.")
    except CallerError as error:
        return back(request, HOME, error.message, good=False)
    return back(request, HOME, said)
