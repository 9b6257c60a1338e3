"""Submit: creates a waiting transcription and its file at Soniox, at most once."""

import functools
from collections.abc import Callable
from functools import partial
from typing import Any

import structlog
from opentelemetry.trace import SpanKind
from sqlmodel import Session

from service.errors import (
    SonioxAuthError,
    SonioxError,
    SonioxNotFoundError,
    SonioxOutcomeUnknownError,
    SonioxQuotaExceededError,
    SonioxRateLimitedError,
    SonioxRejectedError,
)
from service.lifecycle import OPEN_STAGES, Stage, backoff_ms
from service.pipeline.results import WOKEN_QUEUES, Completion, count_finished, finish
from service.relay import Relay
from service.soniox.client import Upload
from service.soniox.models import file_reference
from service.store import files, reconciler, transcription_queries, transcriptions
from service.store.transcriptions import JobResult
from service.tables import File, TimelineEntry, Transcription
from service.tracing import attributes

log = structlog.get_logger(__name__)

SETTLE_AFTER_MS = 5_000  # by then Soniox's listing shows a request that was under way
RETRY_AFTER_MS = 5_000  # after a full quota, a rate limit or a refused key; the governor then holds the queue


async def submit(relay: Relay, job: Transcription) -> None:
    """Run one claimed transcription: submit, postpone or fail it."""
    started_ms = relay.clock()
    try:
        with relay.tracing.span("create at soniox", job.traceparent, SpanKind.CLIENT, job_id=job.id) as span:
            soniox_id = await _find_or_create(relay, job)
            span.set_attributes(attributes(soniox_id=soniox_id))
    except SonioxError as error:
        await _give_back(relay, job, error)
    else:
        await relay.db.write(functools.partial(_settle, relay, job, soniox_id, started_ms), wake=("cleanup",))


async def _find_or_create(relay: Relay, job: Transcription) -> str:
    if job.unsettled:
        found = await _find_transcription(relay, job)
        if found:
            return found
    soniox_file_id = job.soniox_file_id or await find_or_upload(relay, job)
    created = await relay.soniox.create_transcription(
        _payload(relay, job, soniox_file_id), functools.partial(still_holds_lease, relay, job)
    )
    return created.id


async def _find_transcription(relay: Relay, job: Transcription) -> str | None:
    """Return the id of the transcription that an earlier call created, if any."""
    listed = await relay.listing.transcriptions(since_ms=unknown_since_ms(job))
    return next((remote.id for remote in listed.get(job.id, ()) if remote.id not in job.past_soniox_ids), None)


def _payload(relay: Relay, job: Transcription, soniox_file_id: str | None) -> dict[str, Any]:
    """Return the body for Soniox: the caller's fields unchanged, and our own webhook."""
    ours = {
        "webhook_url": relay.settings.webhook_url(job.id),
        "webhook_auth_header_name": relay.settings.soniox_api_webhook_header,
        "webhook_auth_header_value": relay.secret_box.webhook_secret(job.id),
    }
    file = {"file_id": soniox_file_id} if soniox_file_id else {}
    return {**job.request, **file, **ours}


def _settle(relay: Relay, job: Transcription, soniox_id: str, started_ms: int, session: Session) -> None:
    """Make move c. If the attempt has another Soniox id or has ended, order the removal of this one."""
    now_ms = relay.clock()
    check_at_ms = now_ms + int(relay.settings.relay_reconcile_grace_s * 1000)
    mine = transcriptions.mark_submitted(session, job, soniox_id, now_ms=now_ms, check_at_ms=check_at_ms)
    if not mine:
        reconciler.add_removals(session, reconciler.removal_of(job.id, soniox_id, None, now_ms))
        return
    transcription_queries.add_timeline_entries(
        session,
        TimelineEntry(
            transcription_id=job.id,
            at_ms=now_ms,
            step=Stage.SUBMITTED,
            source="worker",
            http_status=None if job.unsettled else 201,
            duration_ms=now_ms - started_ms,
            detail=f"soniox_id {soniox_id}",
        ),
    )


async def _give_back(relay: Relay, job: Transcription, error: SonioxError) -> None:
    """Fail or postpone the job, depending on the error."""
    now_ms = relay.clock()
    wait_ms = backoff_ms(job.tries, rng=relay.rng)
    step: Callable[[Session], bool]
    match error:
        case SonioxRejectedError() | SonioxNotFoundError():
            await _fail(relay, job, error)
            return
        case SonioxOutcomeUnknownError():
            due_at_ms = now_ms + max(SETTLE_AFTER_MS, wait_ms)
            step = functools.partial(
                transcriptions.mark_unsettled, job=job, due_at_ms=due_at_ms, error=error.message
            )
        case SonioxRateLimitedError() | SonioxQuotaExceededError() | SonioxAuthError():
            step = _waiting(job, now_ms + RETRY_AFTER_MS, error, spend_try=False)
        case _:
            step = _waiting(job, now_ms + wait_ms, error, spend_try=True)
    entry = TimelineEntry(
        transcription_id=job.id,
        at_ms=now_ms,
        step="submission_postponed",
        source="worker",
        http_status=error.status_code,
        detail=error.message[:500],
    )

    def postpone(session: Session) -> None:
        if step(session):
            transcription_queries.add_timeline_entries(session, entry)

    log.warning("submission_postponed", job_id=job.id, reason=error.message, http_status=error.status_code)
    await relay.db.write(postpone)


def _waiting(
    job: Transcription, due_at_ms: int, error: SonioxError, *, spend_try: bool
) -> Callable[[Session], bool]:
    """Return the update that moves the job back to accepted.

    A job with an unsettled earlier call stays in submitting, so that the call is looked up.
    """
    if job.unsettled:
        return functools.partial(transcriptions.mark_unsettled, job=job, due_at_ms=due_at_ms, error=error.message)
    return functools.partial(
        transcriptions.mark_waiting, job=job, due_at_ms=due_at_ms, error=error.message, spend_try=spend_try
    )


async def _fail(relay: Relay, job: Transcription, error: SonioxError) -> None:
    error_type = error.error_type or "invalid_request"
    ending = JobResult(
        job.id,
        job.attempt,
        Stage.FAILED,
        relay.clock(),
        "submission",
        error_type=error_type,
        error_message=error.message,
    )
    end = Completion(job, ending, relay.settings.base_url)
    if await relay.db.write(functools.partial(finish, end=end), wake=WOKEN_QUEUES):
        count_finished(job, ending)


async def find_or_upload(relay: Relay, job: Transcription) -> str | None:
    """Return the id of the job's file at Soniox, uploading it if needed. None if the job has no stored file.

    Raises SonioxError.
    """
    if job.file_id is None:
        return None
    file = await relay.db.read(partial(files.get, file_id=job.file_id))
    if file is None:
        raise SonioxRejectedError(
            "the file was deleted before the transcription started", error_type="file_not_found"
        )
    soniox_file_id = await _find_file(relay, job) if job.unsettled else None
    if soniox_file_id is None:
        soniox_file_id = await _upload(relay, job, file)
    await _remember(relay, job, soniox_file_id)
    return soniox_file_id


async def still_holds_lease(relay: Relay, job: Transcription) -> bool:
    """Check the row, then the lease, right before a call that cannot be undone.

    While the step waited for the rate window, a webhook may have brought the result of an earlier call of this
    job. Its transcription may already be deleted at Soniox, so the listing alone cannot show that.
    """
    held = await relay.db.read(lambda session: transcriptions.is_held(session, job))
    return held and relay.leases.holds(job.id)


def unknown_since_ms(job: Transcription) -> int:
    """Return when a listing must begin to show an unsettled call: the row is due only after that time."""
    return job.due_at_ms or 0


async def _find_file(relay: Relay, job: Transcription) -> str | None:
    """Return the id of the file that an earlier call uploaded, if any."""
    return (await relay.listing.files(since_ms=unknown_since_ms(job))).get(file_reference(job))


async def _upload(relay: Relay, job: Transcription, file: File) -> str:
    upload = Upload(file.filename, file.size, file_reference(job), lambda: files.read_chunks(relay.db, file))
    return (await relay.soniox.upload_file(upload, partial(still_holds_lease, relay, job))).id


async def _remember(relay: Relay, job: Transcription, soniox_file_id: str) -> None:
    """Store the id of the file before the create, so that a crash in between leaks no file.

    Raises SonioxOutcomeUnknownError if the claim was lost.
    """

    def remember(session: Session) -> bool:
        if transcriptions.mark_uploaded(session, job, soniox_file_id):
            return True
        present = transcriptions.get(session, job.id, None)
        if present is None or present.stage not in OPEN_STAGES:
            reconciler.add_removals(session, reconciler.removal_of(job.id, None, soniox_file_id, relay.clock()))
        return False  # the next claim may find and use the file; otherwise the reconciler removes it

    if not await relay.db.write(remember, wake=("cleanup",)):
        raise SonioxOutcomeUnknownError("the claim ended while the file was being uploaded")
