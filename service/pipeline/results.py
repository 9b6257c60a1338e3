"""Results: what Soniox has said of a job, or what we conclude where it says nothing, and how that is stored."""

from dataclasses import dataclass
from functools import partial

import msgspec
import structlog

from service import telemetry
from service.lifecycle import Stage
from service.pipeline.finish import NEXT_LANES, End, count_finished, finish
from service.pipeline.keep import parts_of
from service.relay import Relay
from service.soniox import RemoteTranscription
from service.store.transcriptions import JobResult
from service.tables import TimelineEntry, Transcription, Webhook
from service.transcripts.codec import MalformedTranscript, Packed

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Result:
    """What Soniox has to say: how it ended, and the transcript when it ended well."""

    remote: RemoteTranscription
    packed: Packed | None = None
    fetched_ms: int | None = None
    keep_there: bool = False  # what could not be stored here is not removed at Soniox


def overdue(remote: RemoteTranscription) -> RemoteTranscription:
    """Our own verdict on a job that Soniox does not finish."""
    reason = f"Soniox has not finished it within 24 hours; it says {remote.status}"
    return msgspec.structs.replace(remote, error_type="deadline_exceeded", error_message=reason)


def unreadable(remote: RemoteTranscription, error: MalformedTranscript) -> RemoteTranscription:
    """Our own verdict on a transcript that stays malformed; it is not removed at Soniox."""
    reason = f"Soniox's transcript cannot be read: {error}"
    return msgspec.structs.replace(remote, error_type="malformed_transcript", error_message=reason)


def vanished(soniox_id: str) -> RemoteTranscription:
    """Our own verdict on a job that Soniox does not know any more."""
    reason = "Soniox no longer has the transcription; it was deleted there or expired before it was collected"
    return RemoteTranscription(
        id=soniox_id, status="error", error_type="transcription_not_found", error_message=reason
    )


async def store_result(relay: Relay, row: Webhook, job: Transcription, stage: Stage, result: Result) -> None:
    """One transaction: result, event, deliveries, removal, and the inbox row."""
    now_ms = relay.clock()
    ending = _ending(job, stage, result.remote, row.source, now_ms)
    end = End(
        job,
        ending,
        relay.settings.base_url,
        told_by=row,
        parts=parts_of(job.owner, job.id, result.packed, now_ms) if result.packed else None,
        entries=_entries(row, job, result, now_ms),
        remove=not result.keep_there,
    )
    if await relay.db.write(partial(finish, end=end), wake=NEXT_LANES):
        count_finished(job, ending)
        telemetry.audio_seconds.inc((result.remote.audio_duration_ms or 0) / 1000 if result.packed else 0)
        log.info("transcription_finished", job_id=job.id, stage=str(stage), source=row.source)


def _entries(row: Webhook, job: Transcription, result: Result, now_ms: int) -> list[TimelineEntry]:
    """What led to the result: how we heard of it, and the fetching."""
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
