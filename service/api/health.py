"""Is it alive, is it ready, how is it doing: for probes and for Prometheus."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from service import __version__, telemetry
from service.api.auth import RelayOf
from service.errors import Unavailable
from service.figures import signs_of_life
from service.reconcile import HEARTBEAT
from service.relay import Relay
from service.revisions import misfit
from service.store import heartbeats, stats

router = APIRouter(tags=["Operations"])


@router.get("/livez", summary="The process runs")
async def livez() -> dict[str, str]:
    return {"status": "ok", "version": __version__}


@router.get("/readyz", summary="It can do its work", responses={503: {"description": "It cannot, and why"}})
async def readyz(request: Request, relay: RelayOf) -> JSONResponse:
    checks = await _checks(relay)
    if request.app.state.draining:
        checks["draining"] = "stopping"
    ready = all(value == "ok" for value in checks.values())
    body = {"status": "ok" if ready else "not_ready", "checks": checks}
    return JSONResponse(body, 200 if ready else 503)


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
async def metrics(relay: RelayOf) -> Response:
    async with relay.db.read() as connection:
        figures = await stats.gauges(connection)
        beats = await heartbeats.all_of(connection)
    if HEARTBEAT in beats:
        telemetry.reconciler_last_run.set(beats[HEARTBEAT].at_ms / 1000)
    for stage, standing in figures.stages.items():
        telemetry.transcriptions_open.labels(stage).set(standing.count)
    for lane, standing in figures.waiting.items():
        telemetry.work_waiting.labels(lane).set(standing.count)
    held, quotas = figures.held, relay.governor.quotas
    for kind in ("pending", "transcriptions", "files"):
        telemetry.soniox_held.labels(kind).set(getattr(held, kind))
        telemetry.soniox_quota.labels(kind).set(getattr(quotas, kind))
    return Response(generate_latest(telemetry.REGISTRY), media_type=CONTENT_TYPE_LATEST)


async def _checks(relay: Relay) -> dict[str, str]:
    try:
        async with relay.db.read() as connection:
            found = await connection.run_sync(misfit)
            beats = await heartbeats.all_of(connection)
    except Unavailable as error:
        return {"database": str(error)}
    return {
        "database": "ok",
        "migration": str(found or "ok"),
        **signs_of_life(beats, relay.settings, relay.clock()),
    }
