"""/ui/reconciler: its runs and finds, its next run, and a dry run on request."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response

from service.api.auth import RelayOf
from service.api.reconciler import RUNS_SHOWN
from service.dashboard.posts import SubmittedByAdmin
from service.dashboard.render import render
from service.dashboard.visitors import Admin
from service.errors import SonioxUnreachable
from service.reconcile.sweep import Finding, sweep
from service.relay import Relay
from service.store import reconciler as store_reconciler
from service.store import system

router = APIRouter()

LONGEST_DRY_RUN_S = 20
ROWS = 200


@router.get("/reconciler")
async def reconciler(request: Request, relay: RelayOf, _visitor: Admin) -> Response:
    return render(request, "reconciler.html", finds=None, **await _record(relay))


@router.post("/reconciler/dry-run")
async def dry_run(request: Request, relay: RelayOf, _post: SubmittedByAdmin) -> Response:
    """Ask Soniox about all silent jobs and change nothing."""
    try:
        async with asyncio.timeout(LONGEST_DRY_RUN_S):
            finds = await sweep(relay, dry_run=True)
    except TimeoutError:
        raise SonioxUnreachable(f"No answer within {LONGEST_DRY_RUN_S} seconds; nothing was changed.") from None
    return render(request, "reconciler.html", finds=[_row(find) for find in finds[:ROWS]], **await _record(relay))


async def _record(relay: Relay) -> dict[str, Any]:
    runs, office = await relay.db.read(
        lambda session: (
            store_reconciler.latest_runs(session, RUNS_SHOWN),
            system.leader_lease(session, system.RECONCILER),
        )
    )
    interval_ms = int(relay.settings.relay_reconcile_interval_s * 1000)
    most = max((sum(run.finds.values()) for run in runs), default=0)
    return {
        "runs": runs,
        "most_finds": most,
        "total_finds": sum(sum(run.finds.values()) for run in runs),
        "next_run_ms": runs[0].started_at_ms + interval_ms if runs else None,
        "swept_by": office.holder if office else None,
        "interval_ms": interval_ms,
        "grace_ms": int(relay.settings.relay_reconcile_grace_s * 1000),
    }


def _row(find: Finding) -> dict[str, Any]:
    return {
        "id": find.job.id,
        "filename": find.job.filename,
        "we_think": find.job.stage,
        "soniox_says": find.status,
        "is_news": find.is_news,
        "action": f"would {find.action}" if find.is_news else find.action,
        "diagnosis": find.diagnosis if find.is_news else "",
    }
