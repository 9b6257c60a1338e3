"""/ui/jobs/ID: one job, with its timeline, its deliveries and the curl command that submits it again."""

import json
import re
import shlex
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from fastapi import APIRouter, Request, Response
from sqlmodel import Session

from service.api.deps import RelayDep
from service.dashboard.explain import JobFacts, why_not_done
from service.dashboard.render import render
from service.dashboard.session import FormOfSubmitter, ReaderSession, redirect_back
from service.dashboard.timeline import chart_of
from service.lifecycle import DeliveryStatus, Stage
from service.reconcile.sweep import Finding, reconcile_one
from service.relay import Relay
from service.services.transcriptions import delete_transcription, get_owned_transcription, retry_transcription
from service.store import deliveries, endpoints, inbox, system, transcription_queries, transcripts
from service.store import quotas as store_quotas
from service.tables import Delivery, Heartbeat, Transcription

REDACTED = "***"
SECRET_NAMES = re.compile(r"sig|token|key|secret|password|credential|auth|expires|policy|session", re.IGNORECASE)
MAX_CURL = 24  # characters: a value this long is usually a signature or a token


def as_curl(job: Transcription, base_url: str) -> str:
    """Return a shell command that submits the job again.

    The key is `$RELAY_API_KEY`, never a real one. Secrets in URLs and the callback's header value are hidden.
    """
    body = json.dumps(request_of(job), ensure_ascii=False, indent=2)
    lines = [
        f"curl {shlex.quote(base_url + '/v1/transcriptions')}",
        '-H "Authorization: Bearer $RELAY_API_KEY"',
        "-H 'Content-Type: application/json'",
        f"-d {shlex.quote(body)}",
    ]
    return " \\\n  ".join(lines)


def request_of(job: Transcription) -> dict[str, Any]:
    """Return the request body of the caller, with secrets hidden."""
    callback = {"webhook_url": job.callback_url, "webhook_auth_header_name": job.callback_header}
    if job.callback_secret_encrypted:
        callback["webhook_auth_header_value"] = REDACTED
    asked = {**job.request, **callback, "metadata": job.caller_metadata}
    if job.file_id:
        asked["file_id"] = job.file_id
    urls = ("audio_url", "webhook_url")
    return {
        name: without_secrets(value) if name in urls and isinstance(value, str) else value
        for name, value in asked.items()
        if value is not None
    }


def without_secrets(url: str) -> str:
    """Return the URL with passwords, signatures, tokens and other likely secrets hidden."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return REDACTED
    host = parts.netloc.rpartition("@")[2]
    netloc = f"{REDACTED}@{host}" if host != parts.netloc else host
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    query = "&".join(f"{quote(name)}={_shown(name, value)}" for name, value in pairs)
    return urlunsplit((parts.scheme, netloc, parts.path, query, ""))


def _shown(name: str, value: str) -> str:
    return REDACTED if SECRET_NAMES.search(name) or len(value) >= MAX_CURL else quote(value, safe="/:,")


router = APIRouter()

STEPS_SHOWN = 200


@router.get("/jobs/{job_id}")
async def read(job_id: str, request: Request, relay: RelayDep, visitor: ReaderSession) -> Response:
    job = await get_owned_transcription(relay, job_id, visitor.caller)
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
async def retry_one(job_id: str, request: Request, relay: RelayDep, post: FormOfSubmitter) -> Response:
    await retry_transcription(relay, await get_owned_transcription(relay, job_id, post.visitor.caller))
    return redirect_back(request, f"/ui/jobs/{job_id}", "It is being retried.")


@router.post("/jobs/{job_id}/reconcile")
async def reconcile(job_id: str, request: Request, relay: RelayDep, post: FormOfSubmitter) -> Response:
    job = await get_owned_transcription(relay, job_id, post.visitor.caller)
    finding = await reconcile_one(relay, job)
    said = _describe(finding) if finding else f"There is nothing to ask: the job is {job.stage}."
    return redirect_back(request, f"/ui/jobs/{job_id}", said)


@router.post("/jobs/{job_id}/delete")
async def delete(job_id: str, request: Request, relay: RelayDep, post: FormOfSubmitter) -> Response:
    await delete_transcription(relay, await get_owned_transcription(relay, job_id, post.visitor.caller))
    return redirect_back(request, "/ui/jobs", f"Deleted job {job_id}.")


def _facts(session: Session, relay: Relay, job: Transcription, sees: str | None) -> dict[str, Any]:
    """Return what the page shows besides the row itself."""
    steps = transcription_queries.newest_timeline_entries(session, job.id, STEPS_SHOWN)
    sent = deliveries.of_transcription(session, job.id)
    return {
        "chart": chart_of(steps, job.created_at_ms, relay.clock()),
        "more_steps": len(steps) == STEPS_SHOWN,
        "why": why_not_done(_job_facts(session, relay, job, sent)),
        "summary": transcripts.summaries(session, [job.id]).get(job.id),
        "sent": sent,
        "tried": deliveries.count_attempts(session, [one.id for one in sent]),
        "receivers": endpoints.of_ids(session, _endpoints_of(sent), sees),
    }


def _job_facts(session: Session, relay: Relay, job: Transcription, sent: list[Delivery]) -> JobFacts:
    """Return the facts for `why_not_done`. The governor and the quotas matter only for an accepted job."""
    beats = system.heartbeats_of(session)
    waits = job.stage == Stage.ACCEPTED
    pending = [one for one in sent if one.status == DeliveryStatus.PENDING]
    receivers = endpoints.of_ids(session, _endpoints_of(pending), None)
    return JobFacts(
        job=job,
        now_ms=relay.clock(),
        trouble=relay.governor.blocked_reason() if waits else None,
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


def _describe(finding: Finding) -> str:
    diagnosis = f" ({finding.diagnosis})" if finding.actionable and finding.diagnosis else ""
    return f"Soniox says {finding.status}; what follows: {finding.action}{diagnosis}."
