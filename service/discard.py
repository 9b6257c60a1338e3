"""What a caller may do to a transcription after the fact: delete it, or have a failed one tried again."""

from typing import Literal

from sqlmodel import Session

from service.clock import iso
from service.errors import InvalidState
from service.ids import new_id
from service.lifecycle import Stage
from service.relay import Relay
from service.schemas import DeletedTranscription, event_body
from service.store import events, files, inbox, reconciler, transcription_queries, transcriptions, transcripts
from service.store.events import EventDraft
from service.tables import Event, TimelineEntry, Transcription

Reason = Literal["request", "retention"]
STAGES: dict[Reason, tuple[Stage, ...]] = {"request": tuple(Stage), "retention": (Stage.COMPLETED, Stage.FAILED)}


async def discard(relay: Relay, job: Transcription, reason: Reason = "request") -> bool:
    """Delete everything kept here at once, and have Soniox's copies removed durably behind it.

    The event `transcription.deleted` is the receipt: it stays, and says what was removed without repeating it.
    False when somebody else was quicker: deleted it, or had it tried again before its retention ended it, even if
    that has failed by now.
    """
    attempt = job.attempt if reason == "retention" else None

    def delete(session: Session) -> bool:
        gone = transcriptions.remove(session, job.id, STAGES[reason], attempt)
        if gone is None:
            return False
        now_ms = relay.clock()
        removed = {
            "tokens": transcripts.delete_of(session, job.id),
            "files": files.remove_of_transcriptions(session, [job.id]),
            "deliveries": events.clear_results(session, job.id),
        }
        transcription_queries.delete_timeline(session, job.id)
        inbox.delete_of(session, job.id)
        events.append(session, EventDraft(_receipt(gone, now_ms, reason, removed)))
        _order_removal(session, gone, now_ms)
        return True

    return await relay.db.write(delete, wake=("cleanup", "notify", "events", "submit", "ended", "scrub"))


def _order_removal(session: Session, job: Transcription, now_ms: int) -> None:
    finished = job.stage in {Stage.COMPLETED, Stage.FAILED}
    if finished or job.adopted:
        return  # removal was ordered when it finished, or is not ours to order
    unsettled = job.stage == Stage.SUBMITTING
    wanted = reconciler.removal_of(job.id, job.soniox_id, job.soniox_file_id, now_ms, unsettled=unsettled)
    reconciler.add_removals(session, wanted)


async def retry(relay: Relay, job: Transcription) -> None:
    """Move h. Raises InvalidState unless the transcription has failed."""
    now_ms = relay.clock()
    entry = TimelineEntry(
        transcription_id=job.id,
        at_ms=now_ms,
        step="retry",
        source="api",
        detail=f"attempt {job.attempt + 1}",
    )

    def again(session: Session) -> bool:
        moved = job.stage == Stage.FAILED and transcriptions.mark_for_another_attempt(session, job, now_ms)
        if moved:
            transcription_queries.add_timeline_entries(session, entry)
        return moved

    if not await relay.db.write(again, wake=("submit",)):
        raise InvalidState("only a failed transcription can be tried again")


def _receipt(job: Transcription, now_ms: int, reason: Reason, removed: dict[str, int]) -> Event:
    data = DeletedTranscription.of(job, deleted_at=iso(now_ms), reason=reason, removed=removed)
    return Event(
        id=new_id("evt", now_ms),
        type="transcription.deleted",
        owner=job.owner,
        transcription_id=job.id,
        created_at_ms=now_ms,
        body=event_body("transcription.deleted", now_ms, data),
        traceparent=job.traceparent,
    )
