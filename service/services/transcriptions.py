"""Create, delete and retry transcriptions."""

import hashlib
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgspec
from opentelemetry.trace import SpanKind
from sqlmodel import Session

from service import event_types
from service.clock import iso
from service.errors import IdempotencyMismatchError, InvalidStateError, NotFoundError
from service.event_types import new_event
from service.ids import is_uuid, new_uuid
from service.lifecycle import Stage
from service.relay import Relay
from service.schemas import DeletedTranscription
from service.services.keys import Caller
from service.store import events, files, inbox, reconciler, transcription_queries, transcriptions, transcripts
from service.store.events import EventDraft
from service.tables import Event, File, IdempotencyKey, TimelineEntry, Transcription
from service.tracing import attributes, traceparent_of


@dataclass(frozen=True)
class CreateRequest:
    """A validated request. `request` has Soniox's fields; `file` is the file uploaded in the same call.

    `sees` is the owner whose files it may use, None for all; `file_digest` is the SHA-256 of `file` in hex.
    """

    owner: str
    sees: str | None
    request: dict[str, Any]
    filename: str
    metadata: dict[str, Any] | None = None
    callback_url: str | None = None
    callback_header: str | None = None
    callback_secret: str | None = None
    idempotency_key: str | None = None
    file: File | None = None
    file_digest: str = ""
    traceparent: str | None = None

    def fingerprint(self) -> str:
        """Return a hash that is equal for equal requests, whatever the order of their fields."""
        callback = (self.callback_url, self.callback_header, self.callback_secret)
        file = (self.file.filename, self.file_digest) if self.file else None
        told = (self.request, self.metadata, callback, file)
        return hashlib.sha256(msgspec.json.encode(told, order="deterministic")).hexdigest()


async def get_owned_transcription(relay: Relay, transcription_id: str, caller: Caller) -> Transcription:
    """Return the caller's transcription.

    Raises NotFoundError, the same for a stranger's, for none and for a malformed id.
    """
    job = None
    if is_uuid(transcription_id):
        job = await relay.db.read(
            lambda session: transcriptions.get(session, transcription_id.lower(), caller.sees)
        )
    if job is None:
        raise NotFoundError("Transcription not found.", error_type="transcription_not_found")
    return job


async def create_transcription(relay: Relay, order: CreateRequest) -> tuple[Transcription, bool]:
    """Make move a. Returns the transcription and whether it is new; a repeated idempotency key finds the first.

    Raises IdempotencyMismatchError if the key was used with another request or its transcription is deleted.
    """
    with relay.tracing.span("submit", order.traceparent, SpanKind.SERVER) as span:
        job, is_new = await _store(relay, replace(order, traceparent=traceparent_of(span)))
        span.set_attributes(attributes(job_id=job.id))
    return job, is_new


async def _store(relay: Relay, order: CreateRequest) -> tuple[Transcription, bool]:
    if order.idempotency_key is None and order.file is None and "file_id" not in order.request:
        job = _row(relay, order, None)
        await relay.db.write_many(_insert_plain, job, wake=("submit",))
        return job, True
    return await relay.db.write(lambda session: _insert(session, relay, order), wake=("submit",))


def _insert_plain(session: Session, jobs: list[Transcription]) -> list[None]:
    """Insert a batch of transcriptions in one statement."""
    transcriptions.accept(session, jobs)
    transcription_queries.add_timeline_entries(session, *[_accepted_entry(job) for job in jobs])
    return [None] * len(jobs)


def _insert(session: Session, relay: Relay, order: CreateRequest) -> tuple[Transcription, bool]:
    job = _row(relay, order, _local_file(session, order))
    if order.idempotency_key is not None:
        first = transcriptions.remember_key(session, _idempotency_key(order, job))
        if first is not None:
            return _replay(session, order, first), False
    if order.file is not None:
        files.complete(session, order.file, job.id)
    _insert_plain(session, [job])
    return job, True


def _replay(session: Session, order: CreateRequest, first: IdempotencyKey) -> Transcription:
    if first.fingerprint != order.fingerprint():
        raise IdempotencyMismatchError("this Idempotency-Key was used with another request; use a fresh key")
    job = transcriptions.get(session, first.transcription_id, order.owner)
    if job is None:
        raise IdempotencyMismatchError(
            "this Idempotency-Key belongs to a transcription that was deleted; use a fresh key"
        )
    if order.file is not None:
        files.remove_incomplete(session, order.file.id)
    return job


def _local_file(session: Session, order: CreateRequest) -> File | None:
    """Return the stored file of the request.

    None for a URL, and for an unknown id, which may be a file at Soniox. Another owner's file is treated as
    unknown, so that ids reveal nothing; the transcription then fails with `file_not_found`.
    """
    if order.file is not None:
        return order.file
    file_id = order.request.get("file_id")
    return files.find(session, file_id.lower(), order.sees) if file_id else None


def _row(relay: Relay, order: CreateRequest, file: File | None) -> Transcription:
    now_ms = relay.clock()
    secret = order.callback_secret
    return Transcription(
        id=new_uuid(now_ms),
        owner=order.owner,
        created_at_ms=now_ms,
        due_at_ms=now_ms,
        request=order.request,
        caller_metadata=order.metadata,
        client_reference_id=order.request.get("client_reference_id"),
        filename=file.filename if file else order.filename,
        file_id=file.id if file else None,
        callback_url=order.callback_url,
        callback_header=order.callback_header,
        callback_secret_encrypted=relay.secret_box.encrypt(secret) if secret else None,
        model=order.request["model"],
        traceparent=order.traceparent,
    )


def _accepted_entry(job: Transcription) -> TimelineEntry:
    return TimelineEntry(transcription_id=job.id, at_ms=job.created_at_ms, step="accepted", source="api")


def _idempotency_key(order: CreateRequest, job: Transcription) -> IdempotencyKey:
    return IdempotencyKey(
        owner=order.owner,
        key=order.idempotency_key or "",
        fingerprint=order.fingerprint(),
        transcription_id=job.id,
        created_at_ms=job.created_at_ms,
    )


Reason = Literal["request", "retention"]
STAGES: dict[Reason, tuple[Stage, ...]] = {"request": tuple(Stage), "retention": (Stage.COMPLETED, Stage.FAILED)}


async def delete_transcription(relay: Relay, job: Transcription, reason: Reason = "request") -> bool:
    """Delete everything stored here in one transaction, and order the removal of Soniox's copies.

    The event `transcription.deleted` is the receipt: it stays and says how much was removed. False if the
    transcription is already deleted or, for retention, was retried since, even if the retry has failed by now.
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
        events.append(session, EventDraft(_deleted_event(gone, now_ms, reason, removed)))
        _schedule_removal(session, gone, now_ms)
        return True

    return await relay.db.write(delete, wake=("cleanup", "deliver", "events", "submit", "ended", "scrub"))


def _schedule_removal(session: Session, job: Transcription, now_ms: int) -> None:
    finished = job.stage in {Stage.COMPLETED, Stage.FAILED}
    if finished or job.adopted:
        return  # the removal was ordered when it finished; an adopted one is not removed
    unsettled = job.stage == Stage.SUBMITTING
    wanted = reconciler.removal_of(job.id, job.soniox_id, job.soniox_file_id, now_ms, unsettled=unsettled)
    reconciler.add_removals(session, wanted)


async def retry_transcription(relay: Relay, job: Transcription) -> None:
    """Make move h. Raises InvalidStateError unless the transcription has failed."""
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
        raise InvalidStateError("only a failed transcription can be tried again")


def _deleted_event(job: Transcription, now_ms: int, reason: Reason, removed: dict[str, int]) -> Event:
    data = DeletedTranscription.of(job, deleted_at=iso(now_ms), reason=reason, removed=removed)
    return new_event(
        event_types.DELETED,
        now_ms,
        data,
        owner=job.owner,
        transcription_id=job.id,
        traceparent=job.traceparent,
    )
