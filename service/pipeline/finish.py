"""The end of a transcription: row, transcript, event, deliveries, removal and inbox row, in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlmodel import Session

from service import telemetry
from service.ids import new_id
from service.lifecycle import Stage
from service.schemas import transcription_event_body
from service.store import events, files, inbox, reconciler, transcription_queries, transcriptions, transcripts
from service.store.events import EventDraft
from service.store.transcriptions import JobResult
from service.store.transcripts import Parts
from service.tables import Event, TimelineEntry, Transcription, Webhook

EVENT_OF = {Stage.COMPLETED: "transcription.completed", Stage.FAILED: "transcription.failed"}
# Deliveries are due, the log grew, requests may wait for the end, Soniox's objects may go, there is room again.
NEXT_LANES = ("notify", "events", "ended", "cleanup", "submit")


@dataclass(frozen=True)
class End:
    """The end of a transcription, and all that is written in the same moment.

    `job` is as it was when its end was looked up; `base_url` is the relay's, for the event; `told_by` is the row
    of the inbox that led there; `parts` are the transcript; `entries` tell in the timeline what came before;
    `remove` has Soniox's copies removed.
    """

    job: Transcription
    ending: JobResult
    base_url: str
    told_by: Webhook | None = None
    parts: Parts | None = None
    entries: Sequence[TimelineEntry] = ()
    remove: bool = True


def finish(session: Session, end: End) -> bool:
    """Moves e, f and g. False where that attempt was finished already or is gone."""
    ending = end.ending
    job = transcriptions.mark_finished(session, ending)
    if end.told_by:
        outcome = "stored" if job is not None else "already_finished"
        inbox.close(session, end.told_by, outcome, ending.finished_at_ms)
    if job is None:
        return False
    if job.stage == Stage.COMPLETED and job.file_id is not None:
        files.remove_of_transcriptions(session, [job.id])  # a failed one keeps it, for another attempt
    if end.parts:
        transcripts.store(session, end.parts)
    events.append(session, EventDraft(_event(end, job), job.callback_url))
    if end.remove and not job.adopted:
        reconciler.add_removals(
            session, reconciler.removal_of(job.id, job.soniox_id, job.soniox_file_id, ending.finished_at_ms)
        )
    transcription_queries.add_timeline_entries(session, *end.entries, _last_entry(ending, job))
    return True


def count_finished(job: Transcription, ending: JobResult) -> None:
    """Tell the metrics, once the transaction is on disk."""
    telemetry.transcriptions_finished.labels(str(ending.stage), ending.learned_from).inc()
    telemetry.turnaround_seconds.observe((ending.finished_at_ms - job.created_at_ms) / 1000)


def _last_entry(ending: JobResult, job: Transcription) -> TimelineEntry:
    return TimelineEntry(
        transcription_id=job.id,
        at_ms=ending.finished_at_ms,
        step=ending.stage,
        source=ending.learned_from,
        detail=job.error_message,
    )


def _event(end: End, job: Transcription) -> Event:
    kind, now_ms = EVENT_OF[end.ending.stage], end.ending.finished_at_ms
    summary = end.parts.head.summary if end.parts else None
    return Event(
        id=new_id("evt", now_ms),
        type=kind,
        owner=job.owner,
        transcription_id=job.id,
        created_at_ms=now_ms,
        body=transcription_event_body(kind, now_ms, job, end.base_url, summary),
        traceparent=job.traceparent,
    )
