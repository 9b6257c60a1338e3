"""Recoveries: send again the deliveries that an endpoint did not accept."""

from typing import Literal

from fastapi import APIRouter, Response

from service.api.deps import Reader, RelayDep, Submitter
from service.api.endpoints import RecoveryRequest
from service.api.responses import COMMON_RESPONSES, json_response
from service.clock import iso
from service.schemas import Moment, Open, Shown
from service.services.deliveries import count_undelivered, start_recovery
from service.services.endpoints import get_owned_endpoint
from service.store import deliveries

router = APIRouter(prefix="/v1/endpoints", tags=["Endpoints"], responses=COMMON_RESPONSES)


class RecoveryPublic(Shown):
    """How far a recovery has come; `count` as counted when it was ordered."""

    id: str
    endpoint_id: str
    since: Moment
    count: int
    recovered: int
    created_at: Moment
    finished_at: Moment | None


class StartedRecovery(RecoveryPublic):
    """One that begins now."""

    dry_run: Literal[False]


class RecoveryDryRun(Open):
    """What a recovery would send again."""

    endpoint_id: str
    since: Moment
    dry_run: Literal[True]
    count: int


class Recoveries(Open):
    """All of an endpoint."""

    recoveries: list[RecoveryPublic]


@router.post(
    "/{endpoint_id}/recover",
    status_code=202,
    summary="Send again what was not delivered since a moment",
    response_model=StartedRecovery,
    responses={200: {"model": RecoveryDryRun, "description": "With `dry_run`: nothing is sent"}},
)
async def recover(
    endpoint_id: str, order: RecoveryRequest, caller: Submitter, relay: RelayDep
) -> StartedRecovery | Response:
    if order.dry_run:
        found = await count_undelivered(relay, endpoint_id, order.since, caller)
        return json_response(
            RecoveryDryRun(endpoint_id=endpoint_id, since=iso(order.since), dry_run=True, count=found)
        )
    row = await start_recovery(relay, endpoint_id, order.since, caller)
    return StartedRecovery.of(row, since=iso(order.since), count=row.expected, dry_run=False)


@router.get("/{endpoint_id}/recoveries", summary="List the recoveries of an endpoint, newest first")
async def list_recoveries(endpoint_id: str, caller: Reader, relay: RelayDep) -> Recoveries:
    await get_owned_endpoint(relay, endpoint_id, caller)
    found = await relay.db.read(lambda session: deliveries.recoveries_of(session, endpoint_id))
    return Recoveries(
        recoveries=[RecoveryPublic.of(row, since=iso(row.since_ms), count=row.expected) for row in found]
    )
