"""Liveness, readiness and metrics, for probes and Prometheus."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from service import __version__, telemetry
from service.api.deps import RelayDep
from service.db.schema import check_schema
from service.errors import UnavailableError
from service.relay import Relay
from service.services.alerts import heartbeat_ages, worker_heartbeats
from service.services.statistics import age_s, quotas
from service.store import statistics, system
from service.store.system import RECONCILER

router = APIRouter(tags=["Operations"])

PROBE = "readyz"


@router.get("/livez", summary="The process runs")
async def livez() -> dict[str, str]:
    return {"status": "ok", "version": __version__}


@router.get("/readyz", summary="It can do its work", responses={503: {"description": "It cannot, and why"}})
async def readyz(request: Request, relay: RelayDep) -> JSONResponse:
    checks = await _checks(relay)
    if request.state.draining.is_set():
        checks["draining"] = "stopping"
    ready = all(value == "ok" for value in checks.values())
    body = {"status": "ok" if ready else "not_ready", "checks": checks}
    return JSONResponse(body, 200 if ready else 503)


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
async def metrics(relay: RelayDep) -> Response:
    try:
        await _measure(relay)
    except UnavailableError:
        telemetry.database_up.set(0)  # the counters of this process are still reported
    else:
        telemetry.database_up.set(1)
    return Response(generate_latest(telemetry.REGISTRY), media_type=CONTENT_TYPE_LATEST)


async def _measure(relay: Relay) -> None:
    """Set the gauges that are read rather than counted. Raises UnavailableError."""
    telemetry.writes_waiting.set(relay.db.waiting)
    figures, used, beats = await relay.db.read(
        lambda session: (statistics.open_work(session), quotas(relay, session), system.heartbeats_of(session))
    )
    if RECONCILER in beats:
        telemetry.reconciler_last_run.set(beats[RECONCILER].at_ms / 1000)
    if workers := worker_heartbeats(beats):
        telemetry.worker_last_seen.set(max(beat.at_ms for beat in workers) / 1000)
    for stage, standing in figures.stages.items():
        telemetry.transcriptions_open.labels(stage).set(standing.count)
    for queue, standing in figures.waiting.items():
        telemetry.work_waiting.labels(queue).set(standing.count)
    for queue, standing in {**figures.stages, **figures.waiting}.items():
        telemetry.oldest_waiting.labels(queue).set(age_s(standing.oldest_ms, relay.clock()) or 0)
    for kind, quota in used.items():
        telemetry.soniox_held.labels(kind).set(quota["used"])
        telemetry.soniox_quota.labels(kind).set(quota["limit"])


async def _checks(relay: Relay) -> dict[str, str]:
    try:
        if relay.db.refused:  # reads also work on a full disk, so try a write
            await relay.db.write(lambda session: system.record_heartbeat(session, PROBE, relay.clock(), {}))
        found, beats = await relay.db.read(
            lambda session: (check_schema(session.connection()), system.heartbeats_of(session))
        )
    except UnavailableError as error:
        return {"database": str(error)}
    return {
        "database": "ok",
        "migration": str(found or "ok"),
        **heartbeat_ages(beats, relay.settings, relay.clock()),
    }
