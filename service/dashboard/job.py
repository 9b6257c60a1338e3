"""/ui/jobs/ID: one job: its life as a chart, why it is not done yet, what was asked, who was told."""

import json
from typing import Any

from fastapi import APIRouter, Request, Response
from sqlmodel import Session

from service.api.auth import RelayOf
from service.api.reconciler import Look, reconcile_one
from service.api.transcriptions import owned
from service.dashboard.curl import as_curl, request_of
from service.dashboard.gantt import drawn
from service.dashboard.posts import Submitted, back
from service.dashboard.reasons import Seen, why_not_done
from service.dashboard.render import render
from service.dashboard.visitors import Reader
from service.lifecycle import DeliveryStatus, Stage
from service.relay import Relay
from service.services.transcriptions import delete_transcription, retry_transcription
from service.store import deliveries, endpoints, inbox, system, transcription_queries, transcripts
from service.store import quotas as store_quotas
from service.tables import Delivery, Heartbeat, Transcription

router = APIRouter()

STEPS_SHOWN = 200


@router.get("/jobs/{job_id}")
async def read(job_id: str, request: Request, relay: RelayOf, visitor: Reader) -> Response:
    job = await owned(relay, job_id, visitor.caller)
    facts = await relay.db.read(lambda session: _facts(session, relay, job, visitor.caller.sees))
    return render(
        request,
        "job.html",
        job=job,
        **facts,
        asked=json.dumps(request_of(job), ensure_ascii=False, indent=2),
        curl=as_curl(job, relay.settings.base_url),
    )


@router.post("/jobs/{job_id}/retry")
async def retry_one(job_id: str, request: Request, relay: RelayOf, post: Submitted) -> Response:
    await retry_transcription(relay, await owned(relay, job_id, post.visitor.caller))
    return back(request, f"/ui/jobs/{job_id}", "It is being tried again.")


@router.post("/jobs/{job_id}/reconcile")
async def reconcile(job_id: str, request: Request, relay: RelayOf, post: Submitted) -> Response:
    found = await reconcile_one(job_id, post.visitor.caller, relay)
    return back(request, f"/ui/jobs/{job_id}", _told(found))


@router.post("/jobs/{job_id}/delete")
async def delete(job_id: str, request: Request, relay: RelayOf, post: Submitted) -> Response:
    await delete_transcription(relay, await owned(relay, job_id, post.visitor.caller))
    return back(request, "/ui/jobs", f"Deleted job {job_id}.")


def _facts(session: Session, relay: Relay, job: Transcription, sees: str | None) -> dict[str, Any]:
    """What the page shows beside the row itself."""
    steps = transcription_queries.newest_timeline_entries(session, job.id, STEPS_SHOWN)
    sent = deliveries.of_transcription(session, job.id)
    return {
        "chart": drawn(steps, job.created_at_ms, relay.clock()),
        "more_steps": len(steps) == STEPS_SHOWN,
        "why": why_not_done(_seen(session, relay, job, sent)),
        "summary": transcripts.summaries(session, [job.id]).get(job.id),
        "sent": sent,
        "tried": deliveries.count_attempts(session, [one.id for one in sent]),
        "receivers": endpoints.of_ids(session, _endpoints_of(sent), sees),
    }


def _seen(session: Session, relay: Relay, job: Transcription, sent: list[Delivery]) -> Seen:
    """What the sentence is made from; the last two are read only where they can matter."""
    beats = system.heartbeats_of(session)
    waits = job.stage == Stage.ACCEPTED
    pending = [one for one in sent if one.status == DeliveryStatus.PENDING]
    receivers = endpoints.of_ids(session, _endpoints_of(pending), None)
    return Seen(
        job=job,
        now_ms=relay.clock(),
        trouble=relay.governor.trouble() if waits else None,
        silent_ms=_silent_ms(beats, relay.clock()),
        room=not waits or _has_room(session, relay),
        hint=inbox.newest_open(session, job.id),
        deliveries=sent,
        disabled=frozenset(one.id for one in receivers.values() if not one.enabled),
    )


def _has_room(session: Session, relay: Relay) -> bool:
    held, quotas = store_quotas.usage(session), relay.governor.quotas
    return held.pending < quotas.pending and held.transcriptions < quotas.transcriptions


def _silent_ms(beats: dict[str, Heartbeat], now_ms: int) -> int | None:
    workers = [beat.at_ms for name, beat in beats.items() if name.startswith("worker:")]
    return now_ms - max(workers) if workers else None


def _endpoints_of(sent: list[Delivery]) -> set[str]:
    return {one.endpoint_id for one in sent if one.endpoint_id}


def _told(found: Look) -> str:
    if found.soniox_says is None:
        return f"There is nothing to ask: the job is {found.we_think}."
    diagnosis = f" ({found.diagnosis})" if found.diagnosis else ""
    return f"Soniox says {found.soniox_says}; what follows: {found.action}{diagnosis}."
