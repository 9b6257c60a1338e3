"""Recoveries: sending again what an endpoint did not take."""

from typing import Any

from fastapi import APIRouter, Response

from service.api.auth import Reader, RelayOf, Submitter
from service.api.endpoints import owned
from service.api.subscription import RecoveryOrder
from service.clock import iso
from service.ids import new_id
from service.store import recoveries
from service.tables import Recovery

router = APIRouter(prefix="/v1/endpoints", tags=["Endpoints"])


@router.post("/{endpoint_id}/recover", summary="Send again what was not delivered since a moment")
async def recover(
    endpoint_id: str, order: RecoveryOrder, caller: Submitter, relay: RelayOf, response: Response
) -> dict[str, Any]:
    await owned(relay, endpoint_id, caller)
    now_ms = relay.clock()
    if order.dry_run:
        count = await relay.db.read(lambda session: recoveries.count(session, endpoint_id, order.since, now_ms))
        return {"endpoint_id": endpoint_id, "since": iso(order.since), "dry_run": True, "count": count}
    recovery = Recovery(
        id=new_id("rcv", now_ms),
        endpoint_id=endpoint_id,
        since_ms=order.since,
        until_ms=now_ms,
        expected=0,
        at_created_ms=order.since - 1,
        created_at_ms=now_ms,
        due_at_ms=now_ms,
    )
    count = await relay.db.write(lambda connection: recoveries.order(connection, recovery), wake=("recover",))
    response.status_code = 202
    return {**recovery_object(recovery), "dry_run": False, "count": count}


@router.get("/{endpoint_id}/recoveries", summary="List the recoveries of an endpoint, newest first")
async def list_recoveries(endpoint_id: str, caller: Reader, relay: RelayOf) -> dict[str, Any]:
    await owned(relay, endpoint_id, caller)
    found = await relay.db.read(lambda session: recoveries.of_endpoint(session, endpoint_id))
    return {"recoveries": [recovery_object(recovery) for recovery in found]}


def recovery_object(recovery: Recovery) -> dict[str, Any]:
    """How far a recovery has come."""
    return {
        "id": recovery.id,
        "endpoint_id": recovery.endpoint_id,
        "since": iso(recovery.since_ms),
        "count": recovery.expected,
        "recovered": recovery.recovered,
        "created_at": iso(recovery.created_at_ms),
        "finished_at": iso(recovery.finished_at_ms),
    }
