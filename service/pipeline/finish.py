"""The end of transcriptions: row, transcript, event, deliveries, removal and inbox row, in one transaction.

Many end in the same moment and share that transaction: each table is written once for all of them, and on
PostgreSQL all tables in one trip.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from service import telemetry
from service.ids import new_id
from service.lifecycle import Stage
from service.schemas import transcription_event_body
from service.store import endings, events, files, removals, transcripts, webhooks
from service.store.changes import insertion, run_together
from service.store.endings import Ending
from service.store.events import Told
from service.store.rows import new
from service.store.transcripts import Parts
from service.tables import Event, Removal, TimelineEntry, Transcription, Webhook

EVENT_OF = {Stage.COMPLETED: "transcription.completed", Stage.FAILED: "transcription.failed"}
NEXT_LANES = ("notify", "events", "ended")  # deliveries are due, the log grew, requests may wait for the end
LATER_LANES = ("cleanup", "submit")  # Soniox's objects may go, there is room again


@dataclass(frozen=True)
class End:
    """The end of a transcription, and all that is written in the same moment.

    `job` is as it was when its end was looked up; `base_url` is the relay's, for the event; `told_by` is the row
    of the inbox that led there; `parts` are the transcript; `entries` tell in the timeline what came before;
    `remove` has Soniox's copies removed.
    """

    job: Transcription
    ending: Ending
    base_url: str
    told_by: Webhook | None = None
    parts: Parts | None = None
    entries: Sequence[TimelineEntry] = ()
    remove: bool = True


class _Finished(NamedTuple):
    """An end that counts, and the row as it is now."""

    end: End
    job: Transcription


async def finish(connection: AsyncConnection, ends: Sequence[End]) -> list[bool]:
    """Moves e, f and g, for all that end now. False where that attempt was finished already or is gone."""
    jobs = await endings.mark_finished(connection, [end.ending for end in ends])
    finished = [_Finished(end, job) for end, job in zip(ends, jobs, strict=True) if job is not None]
    heard = [
        (end.told_by, "stored" if job is not None else "already_finished", end.ending.finished_at_ms)
        for end, job in zip(ends, jobs, strict=True)
        if end.told_by
    ]
    await files.remove_of_transcriptions(connection, [one.job.id for one in finished if _has_file_no_more(one)])
    stored = [one.end.parts for one in finished if one.end.parts]
    told = await events.telling(connection, [Told(_event(one), one.job.callback_url) for one in finished])
    changes = chain(
        transcripts.storing(connection.dialect.name, stored),
        told,
        insertion([removal for one in finished for removal in _removals(one)]),
        insertion([entry for one in finished for entry in _entries(one)]),
        webhooks.handling(heard),
    )
    await run_together(connection, changes)
    return [job is not None for job in jobs]


def count_finished(job: Transcription, ending: Ending) -> None:
    """Tell the metrics, once the transaction is on disk."""
    telemetry.transcriptions_finished.labels(str(ending.stage), ending.learned_from).inc()
    telemetry.turnaround_seconds.observe((ending.finished_at_ms - job.created_at_ms) / 1000)


def _has_file_no_more(one: _Finished) -> bool:
    """A failed one keeps what was uploaded with it, for another attempt."""
    return one.job.stage == Stage.COMPLETED and one.job.file_id is not None


def _removals(one: _Finished) -> list[Removal]:
    job = one.job
    if job.adopted or not one.end.remove:
        return []
    return removals.of(job.id, job.soniox_id, job.soniox_file_id, one.end.ending.finished_at_ms)


def _entries(one: _Finished) -> list[TimelineEntry]:
    ending = one.end.ending
    last = new(
        TimelineEntry,
        transcription_id=one.job.id,
        at_ms=ending.finished_at_ms,
        step=ending.stage,
        source=ending.learned_from,
        detail=one.job.error_message,
    )
    return [*one.end.entries, last]


def _event(one: _Finished) -> Event:
    end, job = one
    kind, now_ms = EVENT_OF[end.ending.stage], end.ending.finished_at_ms
    summary = end.parts.head.summary if end.parts else None
    return new(
        Event,
        id=new_id("evt", now_ms),
        type=kind,
        owner=job.owner,
        transcription_id=job.id,
        created_at_ms=now_ms,
        body=transcription_event_body(kind, now_ms, job, end.base_url, summary),
        traceparent=job.traceparent,
    )
