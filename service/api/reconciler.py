"""The reconciler, seen and asked: its last runs, its next one, and one job at once."""

from typing import Any

from fastapi import APIRouter

from service.api.auth import Admin, RelayOf, Submitter
from service.api.transcriptions import owned
from service.clock import iso
from service.lifecycle import Stage
from service.reconcile import ask_one, record
from service.store import offices, sweeps
from service.tables import Sweep

router = APIRouter(prefix="/v1", tags=["Reconciler"])

RUNS_SHOWN = 20


@router.get("/reconciler", summary="The reconciler's last runs and its next one")
async def read(_caller: Admin, relay: RelayOf) -> dict[str, Any]:
    runs, office = await relay.db.read(
        lambda session: (sweeps.latest(session, RUNS_SHOWN), offices.get(session, "reconciler"))
    )
    interval_ms = int(relay.settings.relay_reconcile_interval_s * 1000)
    return {
        "interval_s": relay.settings.relay_reconcile_interval_s,
        "grace_s": relay.settings.relay_reconcile_grace_s,
        "swept_by": office.holder if office else None,
        "next_run_at": iso(runs[0].started_at_ms + interval_ms) if runs else None,
        "runs": [run_object(run) for run in runs],
    }


@router.post("/transcriptions/{transcription_id}/reconcile", summary="Ask Soniox about one transcription now")
async def reconcile_one(transcription_id: str, caller: Submitter, relay: RelayOf) -> dict[str, Any]:
    job = await owned(relay, transcription_id, caller)
    if job.stage != Stage.SUBMITTED:
        return {"id": job.id, "we_think": job.stage, "soniox_says": None, "action": "none", "diagnosis": None}
    find = await ask_one(relay, job)
    await record(relay, [find])
    return {
        "id": job.id,
        "we_think": job.stage,
        "soniox_says": find.status,
        "action": find.action,
        "diagnosis": find.diagnosis if find.is_news else None,
    }


def run_object(run: Sweep) -> dict[str, Any]:
    """One run as it is shown."""
    return {
        "started_at": iso(run.started_at_ms),
        "duration_ms": run.finished_at_ms - run.started_at_ms,
        "by": run.by,
        "asked": run.asked,
        "calls": run.calls,
        "finds": run.finds,
        "error": run.error,
    }
