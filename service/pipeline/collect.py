"""Collect: fetches the result that an inbox entry announces, and stores it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from opentelemetry.trace import SpanKind
from sqlmodel import Session

from service.errors import SonioxError, SonioxNotFoundError, SonioxNotReadyError
from service.ids import new_uuid
from service.lifecycle import OPEN_STAGES, Stage, backoff_ms
from service.pipeline.results import Result, overdue, store_result, unreadable, vanished
from service.relay import Relay
from service.soniox.models import FINISHED_BADLY, FINISHED_WELL, STUCK_TRANSCRIPTION, RemoteTranscription
from service.store import claims, inbox, reconciler, transcription_queries, transcriptions
from service.store.inbox import ClaimedEntry
from service.tables import TimelineEntry, Transcription, Webhook
from service.transcripts.codec import MalformedTranscriptError, pack

OWNER = "adopted"  # no key has this id, so only admin keys see adopted transcriptions


async def adopt(relay: Relay, remote: RemoteTranscription) -> Transcription | None:
    """Store a row in stage submitted, or return the row that another inbox entry created first."""
    job = _adopted_row(relay, remote)

    def adopt(session: Session) -> Transcription | None:
        present = transcriptions.with_soniox_id(session, remote.id)
        if present is None and remote.job():
            present = transcriptions.get(session, remote.job(), None)
        if present is None:
            transcriptions.accept(session, [job])
            entry = TimelineEntry(
                transcription_id=job.id, at_ms=job.created_at_ms, step="adopted", source="webhook"
            )
            transcription_queries.add_timeline_entries(session, entry)
        return present or job

    return await relay.db.write(adopt)


def _adopted_row(relay: Relay, remote: RemoteTranscription) -> Transcription:
    now_ms = relay.clock()
    request: dict[str, Any] = {"model": remote.model}
    request |= {name: value for name in ("audio_url", "file_id") if (value := getattr(remote, name))}
    name = remote.filename or urlsplit(remote.audio_url or "").path.rsplit("/", 1)[-1]
    return Transcription(
        id=new_uuid(now_ms),
        owner=OWNER,
        stage=Stage.SUBMITTED,
        created_at_ms=now_ms,
        submitted_at_ms=now_ms,
        check_at_ms=now_ms + int(relay.settings.relay_reconcile_grace_s * 1000),
        request=request,
        client_reference_id=remote.client_reference_id,
        filename=name or "audio",
        model=remote.model,
        soniox_id=remote.id,
        soniox_status=remote.status,
        adopted=True,
    )


MAX_POLLS_UNFINISHED = 8  # the status may lag behind the webhook; after that the reconciler asks
MAX_POLLS_MALFORMED = 6  # a truncated response is malformed too
MAX_POLLS_NOT_FOUND = 3  # a 404 may come from a lagging replica


async def collect(relay: Relay, heard: ClaimedEntry) -> None:
    """Run one claimed inbox entry: close it with an outcome, or postpone it."""
    row, job = heard
    if job is not None and job.stage not in OPEN_STAGES and row.soniox_id in {job.soniox_id, *job.past_soniox_ids}:
        await _close(relay, row, "already_finished")
        return
    try:
        with _traced(relay, row, job):
            remote = await relay.soniox.get_transcription(row.soniox_id)
            await _collect_from(relay, row, job, remote)
    except SonioxNotFoundError:
        await _not_found(relay, row, job)
    except SonioxError as error:
        await _retry_later(relay, row, error.message)


@contextmanager
def _traced(relay: Relay, row: Webhook, job: Transcription | None) -> Iterator[None]:
    """Record the block as a span; on the first try also record the time at Soniox and in the inbox."""
    parent, job_id = (job.traceparent, job.id) if job else (None, None)
    if job and row.tries == 0:
        if job.submitted_at_ms:
            relay.tracing.record("transcribe", parent, job.submitted_at_ms, row.received_at_ms, job_id=job_id)
        relay.tracing.record(row.source, parent, row.received_at_ms, relay.clock(), job_id=job_id)
    with relay.tracing.span("collect", parent, SpanKind.CONSUMER, job_id=job_id, soniox_id=row.soniox_id):
        yield


async def _collect_from(
    relay: Relay, row: Webhook, job: Transcription | None, remote: RemoteTranscription
) -> None:
    if job is None and not row.transcription_id:
        job = await adopt(relay, remote)
    if job is None or not _belongs(job, row, remote):
        await _reject(relay, row, remote)
    elif remote.status == FINISHED_WELL:
        await _complete(relay, row, job, remote)
    elif remote.status in FINISHED_BADLY or row.status == STUCK_TRANSCRIPTION:
        await _fail(relay, row, job, overdue(remote) if row.status == STUCK_TRANSCRIPTION else remote)
    else:
        await _not_finished(relay, row, job, remote)


def _belongs(job: Transcription, row: Webhook, remote: RemoteTranscription) -> bool:
    """Return whether the job has this id, or has none yet and the transcription names the job."""
    if job.soniox_id is not None:
        return job.soniox_id == remote.id
    return remote.id not in job.past_soniox_ids and (remote.job() == job.id or not row.transcription_id)


async def _reject(relay: Relay, row: Webhook, remote: RemoteTranscription) -> None:
    """Close the entry without a result.

    A transcription with our mark is a second one of the job, or the job is deleted: it is removed at Soniox.
    """
    ours = bool(row.transcription_id) and remote.job() == row.transcription_id

    def turn_away(session: Session) -> None:
        if ours and inbox.close(session, row, "superseded", relay.clock()):
            reconciler.add_removals(
                session, reconciler.removal_of(row.transcription_id, remote.id, None, relay.clock())
            )
        elif not ours:
            inbox.close(session, row, "not_ours", relay.clock())

    await relay.db.write(turn_away, wake=("cleanup",))


async def _complete(relay: Relay, row: Webhook, job: Transcription, remote: RemoteTranscription) -> None:
    started_ms = relay.clock()
    try:
        packed = await pack(await relay.soniox.get_transcript(remote.id))
    except MalformedTranscriptError as error:
        if row.tries < MAX_POLLS_MALFORMED:
            raise SonioxNotReadyError(f"the transcript cannot be read: {error}") from error
        await store_result(relay, row, job, Stage.FAILED, Result(unreadable(remote, error), keep_there=True))
        return
    fetched_ms = relay.clock() - started_ms
    await store_result(relay, row, job, Stage.COMPLETED, Result(remote, packed, fetched_ms))


async def _fail(relay: Relay, row: Webhook, job: Transcription, remote: RemoteTranscription) -> None:
    await store_result(relay, row, job, Stage.FAILED, Result(remote))


async def _not_found(relay: Relay, row: Webhook, job: Transcription | None) -> None:
    """Handle a 404. A job with this id fails after MAX_POLLS_NOT_FOUND tries."""
    if job is None or job.soniox_id != row.soniox_id:
        await _close(relay, row, "not_at_soniox")
    elif row.tries < MAX_POLLS_NOT_FOUND:
        await _retry_later(relay, row, "Soniox does not have it")
    else:
        await _fail(relay, row, job, vanished(row.soniox_id))


async def _not_finished(relay: Relay, row: Webhook, job: Transcription, remote: RemoteTranscription) -> None:
    if row.tries < MAX_POLLS_UNFINISHED:
        await _retry_later(relay, row, f"Soniox says {remote.status}")
        return
    await _close(relay, row, "not_finished")


async def _retry_later(relay: Relay, row: Webhook, reason: str) -> None:
    due_at_ms = relay.clock() + backoff_ms(row.tries, first_ms=250, rng=relay.rng)

    def postpone(session: Session) -> None:
        claims.postpone(session, Webhook, row, due_at_ms=due_at_ms, error=reason)

    await relay.db.write(postpone)


async def _close(relay: Relay, row: Webhook, outcome: str) -> None:
    def close(session: Session) -> None:
        inbox.close(session, row, outcome, relay.clock())

    await relay.db.write(close)
