"""The reconciler: read its last runs and the time of the next one, and reconcile one job now."""

from fastapi import APIRouter
from pydantic import Field

from service.api.deps import Admin, RelayDep, Submitter
from service.api.responses import COMMON_RESPONSES
from service.clock import iso
from service.lifecycle import Stage
from service.reconcile.sweep import reconcile_one
from service.schemas import Moment, Open, Shown, Uuid
from service.services.transcriptions import get_owned_transcription
from service.store import reconciler, system

router = APIRouter(prefix="/v1", tags=["Reconciler"], responses=COMMON_RESPONSES)

RUNS_SHOWN = 20


class Run(Shown):
    """One run: how many jobs it asked about, with how many calls, and what it found by kind."""

    started_at: Moment
    duration_ms: int
    leader: str
    asked: int
    calls: int
    findings: dict[str, int]
    error: str | None


class Reconciler(Open):
    """How often it runs, which process runs it, and what came of it."""

    interval_s: float
    grace_s: float
    leader: str | None
    next_run_at: Moment | None
    runs: list[Run]


class ReconcileResult(Open):
    """What Soniox says of one transcription, and what follows."""

    id: Uuid
    local_stage: Stage
    soniox_status_now: str | None = Field(description="null: it was not asked, since nothing is under way there.")
    action: str
    diagnosis: str | None


@router.get("/reconciler", summary="The reconciler's last runs and its next one")
async def read(_caller: Admin, relay: RelayDep) -> Reconciler:
    runs, lease = await relay.db.read(
        lambda session: (
            reconciler.latest_runs(session, RUNS_SHOWN),
            system.leader_lease(session, system.RECONCILER),
        )
    )
    interval_ms = int(relay.settings.relay_reconcile_interval_s * 1000)
    return Reconciler(
        interval_s=relay.settings.relay_reconcile_interval_s,
        grace_s=relay.settings.relay_reconcile_grace_s,
        leader=lease.holder if lease else None,
        next_run_at=iso(runs[0].started_at_ms + interval_ms) if runs else None,
        runs=[Run.of(run, duration_ms=run.finished_at_ms - run.started_at_ms) for run in runs],
    )


@router.post("/transcriptions/{transcription_id}/reconcile", summary="Ask Soniox about one transcription now")
async def reconcile(transcription_id: str, caller: Submitter, relay: RelayDep) -> ReconcileResult:
    job = await get_owned_transcription(relay, transcription_id, caller)
    finding = await reconcile_one(relay, job)
    return ReconcileResult(
        id=job.id,
        local_stage=job.stage,
        soniox_status_now=finding.status if finding else None,
        action=finding.action if finding else "none",
        diagnosis=finding.diagnosis if finding and finding.actionable else None,
    )
