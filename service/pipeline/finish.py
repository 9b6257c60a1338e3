"""The end of a transcription: the row, its event, its deliveries and its removal, in one transaction."""

from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from service import telemetry
from service.ids import new_id
from service.lifecycle import Stage
from service.relay import Relay
from service.schemas import transcription_event_body
from service.store import events, files, removals, timeline, transcriptions
from service.tables import Event, TimelineEntry, Transcription

Extra = Callable[[AsyncConnection], Awaitable[None]]

EVENT_OF = {Stage.COMPLETED: "transcription.completed", Stage.FAILED: "transcription.failed"}
NEXT_LANES = (
    "notify",
    "events",
    "cleanup",
    "submit",
    "ended",
)  # deliveries are due, the log grew, Soniox's objects may go, there is room again, requests may wait for the end

__all__ = ["EVENT_OF", "NEXT_LANES", "finish"]


async def finish(
    connection: AsyncConnection,
    relay: Relay,
    asked: Transcription,
    stage: Stage,
    *,
    source: str,
    extra: Extra | None = None,
    remove: bool = True,
    summary: dict[str, Any] | None = None,
    **values: Any,
) -> bool:
    """Moves e, f and g. False when that attempt was finished already or is gone: then nothing is written.

    `asked` is the job as it was when its end was looked up; `extra` writes what belongs to the same moment, such
    as the transcript; `remove` has Soniox's copies removed; `summary` is the transcript's, for the event.
    """
    now_ms = relay.clock()
    job = await transcriptions.mark_finished(
        connection, asked, stage, finished_at_ms=now_ms, learned_from=source, **values
    )
    if job is None:
        return False
    if extra:
        await extra(connection)
    await events.append(connection, _event(relay, job, stage, now_ms, summary), callback_url=job.callback_url)
    if remove and not job.adopted:
        await removals.order(
            connection,
            transcription_id=job.id,
            soniox_id=job.soniox_id,
            soniox_file_id=job.soniox_file_id,
            now_ms=now_ms,
        )
    if stage is Stage.COMPLETED:
        await files.remove_of_transcription(connection, job.id)
    step = TimelineEntry(
        transcription_id=job.id, at_ms=now_ms, step=stage, source=source, detail=job.error_message
    )
    await timeline.note(connection, step)
    return True


def count_finished(job: Transcription, stage: Stage, source: str, now_ms: int) -> None:
    """Tell the metrics, once the transaction is on disk."""
    telemetry.transcriptions_finished.labels(str(stage), source).inc()
    telemetry.turnaround_seconds.observe((now_ms - job.created_at_ms) / 1000)


def _event(relay: Relay, job: Transcription, stage: Stage, now_ms: int, summary: dict[str, Any] | None) -> Event:
    body = transcription_event_body(EVENT_OF[stage], now_ms, job, relay.settings.base_url, summary)
    return Event(
        id=new_id("evt", now_ms),
        type=EVENT_OF[stage],
        owner=job.owner,
        transcription_id=job.id,
        created_at_ms=now_ms,
        body=body,
        traceparent=job.traceparent,
    )
