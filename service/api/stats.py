"""The statistics that the dashboard shows."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from service.api.deps import Reader, StatisticsDep
from service.api.responses import COMMON_RESPONSES
from service.schemas import Moment, Open
from service.services.statistics import Length

router = APIRouter(prefix="/v1", tags=["Operations"], responses=COMMON_RESPONSES)


class JobResults(Open):
    """Transcriptions by the moment they ended."""

    completed: int
    failed: int
    learned_from: dict[str, int]
    turnaround_p50_ms: int | None
    turnaround_p95_ms: int | None


class JobResultsBySource(JobResults):
    """Those of the interval that begins there."""

    start: Moment


class JobResultsInInterval(JobResults):
    """Those of the window, and of each interval."""

    intervals: list[JobResultsBySource]


class DeliveryResults(Open):
    """Deliveries that are over, by the moment they were made."""

    delivered: int
    exhausted: int
    success_ratio: float | None
    p50_ms: int | None
    p95_ms: int | None


class DeliveryResultsByEndpoint(DeliveryResults):
    """Those of the interval that begins there."""

    start: Moment


class DeliveryResultsInInterval(DeliveryResults):
    """Those of the window, and of each interval."""

    intervals: list[DeliveryResultsByEndpoint]


class OpenWorkPublic(Open):
    """How many stand there, and for how long the oldest has."""

    name: str
    count: int
    oldest_s: float | None


class AlertSubject(Open):
    """Where to look."""

    type: str
    id: str


class Action(Open):
    """The call that mends it."""

    method: str
    path: str


class AlertPublic(Open):
    """One thing that somebody should look at."""

    kind: str
    severity: Literal["alarm", "warning"]
    message: str
    count: int
    since: Moment | None
    subject: AlertSubject | None
    action: Action | None


class Quota(Open):
    """What is used of what Soniox allows."""

    used: int
    limit: int


class Stats(Open):
    """How things stand now, and what happened in the window; the last two for admin keys alone."""

    generated_at: Moment
    window: Length
    since: Moment
    interval_s: int
    jobs: JobResultsInInterval
    deliveries: DeliveryResultsInInterval
    stages: list[OpenWorkPublic]
    queues: list[OpenWorkPublic]
    attention: list[AlertPublic]
    reconciler_finds: dict[str, int] = {}
    quotas: dict[str, Quota] = {}


@router.get(
    "/stats",
    summary="What stands where, what happened, and what needs somebody's attention",
    response_model_exclude_unset=True,
)
async def read(
    caller: Reader,
    statistics: StatisticsDep,
    window: Annotated[Length, Query(description="How far back to look.")] = "24h",
) -> Stats:
    """Of the key's own transcriptions; with an admin key of all, and with quotas and the reconciler's finds."""
    return Stats.model_validate(await statistics.overview(caller.sees, window))
