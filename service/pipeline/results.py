"""Results: how a transcription ended, and the transaction that stores it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import msgspec
import structlog
from sqlmodel import Session

from service import event_types, telemetry
from service.event_types import new_event
from service.lifecycle import Stage
from service.relay import Relay
from service.schemas import FinishedTranscription
from service.soniox.models import RemoteTranscription
from service.store import events, files, inbox, reconciler, transcription_queries, transcriptions, transcripts
from service.store.events import EventDraft
from service.store.transcriptions import JobResult
from service.store.transcripts import Parts
from service.tables import Event, TimelineEntry, Transcript, TranscriptChunk, Transcription, Webhook
from service.transcripts.codec import Chunk, MalformedTranscriptError, Packed


def transcript_rows(owner: str, transcription_id: str, packed: Packed, now_ms: int) -> Parts:
    """Return the rows of a transcript, which the transaction that finishes the transcription stores."""
    head = Transcript(
        transcription_id=transcription_id,
        envelope=packed.envelope,
        digest=_digest(packed),
        token_count=packed.token_count,
        summary=msgspec.to_builtins(packed.summary),
        stored_at_ms=now_ms,
    )
    return Parts(owner, head, [_chunk_row(transcription_id, chunk) for chunk in packed.chunks], packed.passages)


def _chunk_row(transcription_id: str, chunk: Chunk) -> TranscriptChunk:
    return TranscriptChunk(
        transcription_id=transcription_id,
        position=chunk.position,
        token_count=chunk.token_count,
        start_ms=chunk.start_ms,
        end_ms=chunk.end_ms,
        min_confidence=chunk.min_confidence,
        data=chunk.data,
    )


def _digest(packed: Packed) -> str:
    digest = hashlib.blake2b(packed.envelope, digest_size=16)
    for chunk in packed.chunks:
        digest.update(chunk.data)
    return digest.hexdigest()


EVENT_OF = {Stage.COMPLETED: event_types.COMPLETED, Stage.FAILED: event_types.FAILED}
# Deliveries, new events, requests that wait for the result, removals, room at Soniox.
WOKEN_QUEUES = ("deliver", "events", "ended", "cleanup", "submit")


@dataclass(frozen=True)
class Completion:
    """The end of a transcription, and what is written in the same transaction.

    `job` is the row as read before; `base_url` is the relay's URL, for the event; `told_by` is the inbox entry
    that led to the result; `parts` are the transcript; `entries` are earlier steps for the timeline; `remove`
    orders the removal of Soniox's copies.
    """

    job: Transcription
    ending: JobResult
    base_url: str
    told_by: Webhook | None = None
    parts: Parts | None = None
    entries: Sequence[TimelineEntry] = ()
    remove: bool = True


def finish(session: Session, end: Completion) -> bool:
    """Make moves e, f and g. False if the attempt is already finished or deleted."""
    ending = end.ending
    job = transcriptions.mark_finished(session, ending)
    if end.told_by:
        outcome = "stored" if job is not None else "already_finished"
        inbox.close(session, end.told_by, outcome, ending.finished_at_ms)
    if job is None:
        return False
    if job.stage == Stage.COMPLETED and job.file_id is not None:
        files.remove_of_transcriptions(session, [job.id])  # a failed job keeps its file for a retry
    if end.parts:
        transcripts.store(session, end.parts)
    events.append(session, EventDraft(_event(end, job), job.callback_url))
    if end.remove and not job.adopted:
        reconciler.add_removals(
            session, reconciler.removal_of(job.id, job.soniox_id, job.soniox_file_id, ending.finished_at_ms)
        )
    transcription_queries.add_timeline_entries(session, *end.entries, _final_entry(ending, job))
    return True


def count_finished(job: Transcription, ending: JobResult) -> None:
    """Update the metrics. Call it after the commit."""
    telemetry.transcriptions_finished.labels(str(ending.stage), ending.learned_from).inc()
    telemetry.turnaround_seconds.observe((ending.finished_at_ms - job.created_at_ms) / 1000)


def _final_entry(ending: JobResult, job: Transcription) -> TimelineEntry:
    return TimelineEntry(
        transcription_id=job.id,
        at_ms=ending.finished_at_ms,
        step=ending.stage,
        source=ending.learned_from,
        detail=job.error_message,
    )


def _event(end: Completion, job: Transcription) -> Event:
    summary = end.parts.head.summary if end.parts else None
    link = f"{end.base_url}/v1/transcriptions/{job.id}/transcript"
    return new_event(
        EVENT_OF[end.ending.stage],
        end.ending.finished_at_ms,
        FinishedTranscription.of(job, summary=summary, transcript_url=link),
        owner=job.owner,
        transcription_id=job.id,
        traceparent=job.traceparent,
    )


log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Result:
    """The result at Soniox, with the transcript if it is completed."""

    remote: RemoteTranscription
    packed: Packed | None = None
    fetched_ms: int | None = None
    keep_there: bool = False  # for a result that could not be stored here


def overdue(remote: RemoteTranscription) -> RemoteTranscription:
    """Return the error of a job that Soniox has not finished before the deadline."""
    reason = f"Soniox has not finished it within 24 hours; it says {remote.status}"
    return msgspec.structs.replace(remote, error_type="deadline_exceeded", error_message=reason)


def unreadable(remote: RemoteTranscription, error: MalformedTranscriptError) -> RemoteTranscription:
    """Return the error of a job whose transcript stays malformed. It is not removed at Soniox."""
    reason = f"Soniox's transcript cannot be read: {error}"
    return msgspec.structs.replace(remote, error_type="malformed_transcript", error_message=reason)


def vanished(soniox_id: str) -> RemoteTranscription:
    """Return the error of a job that Soniox no longer has."""
    reason = "Soniox no longer has the transcription; it was deleted there or expired before it was collected"
    return RemoteTranscription(
        id=soniox_id, status="error", error_type="transcription_not_found", error_message=reason
    )


async def store_result(relay: Relay, row: Webhook, job: Transcription, stage: Stage, result: Result) -> None:
    """Store result, event, deliveries and removal, and close the inbox entry, in one transaction."""
    now_ms = relay.clock()
    ending = _ending(job, stage, result.remote, row.source, now_ms)
    end = Completion(
        job,
        ending,
        relay.settings.base_url,
        told_by=row,
        parts=transcript_rows(job.owner, job.id, result.packed, now_ms) if result.packed else None,
        entries=_entries(row, job, result, now_ms),
        remove=not result.keep_there,
    )
    if await relay.db.write(partial(finish, end=end), wake=WOKEN_QUEUES):
        count_finished(job, ending)
        telemetry.audio_seconds.inc((result.remote.audio_duration_ms or 0) / 1000 if result.packed else 0)
        log.info("transcription_finished", job_id=job.id, stage=str(stage), source=row.source)


def _entries(row: Webhook, job: Transcription, result: Result, now_ms: int) -> list[TimelineEntry]:
    """Return the timeline entries before the result: the webhook and the fetched transcript."""
    entries = []
    if row.source == "webhook":
        heard = f"Soniox says {row.status}"
        entries.append(
            TimelineEntry(
                transcription_id=job.id,
                at_ms=row.received_at_ms,
                step="webhook_received",
                source="webhook",
                http_status=200,
                detail=heard,
            )
        )
    if result.packed:
        entries.append(
            TimelineEntry(
                transcription_id=job.id,
                at_ms=now_ms,
                step="transcript_fetched",
                source="worker",
                http_status=200,
                duration_ms=result.fetched_ms,
                detail=f"{result.packed.token_count} tokens",
            )
        )
    return entries


def _ending(job: Transcription, stage: Stage, remote: RemoteTranscription, source: str, now_ms: int) -> JobResult:
    failed = stage is Stage.FAILED
    return JobResult(
        job.id,
        job.attempt,
        stage,
        now_ms,
        source,
        soniox_id=remote.id,
        soniox_status=remote.status,
        audio_duration_ms=remote.audio_duration_ms,
        webhook_status_code=remote.webhook_status_code,
        model=remote.model or None,
        error_type=remote.error_type or "unknown_error" if failed else None,
        error_message=remote.error_message or "Soniox gave no reason" if failed else None,
    )
