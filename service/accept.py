"""Accept a submission: the row, its idempotency key, its file and its first timeline entry, durable together."""

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from opentelemetry.trace import SpanKind
from sqlmodel import Session

from service.errors import IdempotencyMismatch
from service.ids import new_uuid
from service.relay import Relay
from service.store import files, transcription_queries, transcriptions
from service.tables import File, IdempotencyKey, TimelineEntry, Transcription
from service.traces import attributes, traceparent_of


@dataclass(frozen=True)
class Order:
    """What is asked for, checked. `request` has Soniox's fields; `file` came in the same call.

    `sees` is whose files it may name, None for anybody's; `file_digest` is the SHA-256 of `file` in hex.
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
        """Equal for equal requests, whatever the order of their fields."""
        callback = (self.callback_url, self.callback_header, self.callback_secret)
        file = (self.file.filename, self.file_digest) if self.file else None
        told = (self.request, self.metadata, callback, file)
        return hashlib.sha256(msgspec.json.encode(told, order="deterministic")).hexdigest()


async def accept(relay: Relay, order: Order) -> tuple[Transcription, bool]:
    """Move a. Gives back the transcription and whether it is new: a repeated Idempotency-Key finds the first one.

    Raises IdempotencyMismatch for a known key with another request.
    """
    with relay.traces.span("submit", order.traceparent, SpanKind.SERVER) as span:
        job, is_new = await _keep(relay, replace(order, traceparent=traceparent_of(span)))
        span.set_attributes(attributes(job_id=job.id))
    return job, is_new


async def _keep(relay: Relay, order: Order) -> tuple[Transcription, bool]:
    if order.idempotency_key is None and order.file is None and "file_id" not in order.request:
        job = _row(relay, order, None)
        await relay.db.write_many(_insert_plain, job, wake=("submit",))
        return job, True
    return await relay.db.write(lambda session: _insert(session, relay, order), wake=("submit",))


def _insert_plain(session: Session, jobs: list[Transcription]) -> list[None]:
    """The quick way for all that came in the same moment."""
    transcriptions.accept(session, jobs)
    transcription_queries.add_timeline_entries(session, *[_accepted(job) for job in jobs])
    return [None] * len(jobs)


def _insert(session: Session, relay: Relay, order: Order) -> tuple[Transcription, bool]:
    job = _row(relay, order, _kept_file(session, order))
    if order.idempotency_key is not None:
        first = transcriptions.remember_key(session, _key(order, job))
        if first is not None:
            return _first_one(session, order, first), False
    if order.file is not None:
        files.complete(session, order.file, job.id)
    _insert_plain(session, [job])
    return job, True


def _first_one(session: Session, order: Order, first: IdempotencyKey) -> Transcription:
    if first.fingerprint != order.fingerprint():
        raise IdempotencyMismatch("this Idempotency-Key was used with another request; use a fresh key")
    job = transcriptions.get(session, first.transcription_id, order.owner)
    if job is None:
        raise IdempotencyMismatch(
            "this Idempotency-Key belongs to a transcription that was deleted; use a fresh key"
        )
    if order.file is not None:
        files.remove_incomplete(session, order.file.id)
    return job


def _kept_file(session: Session, order: Order) -> File | None:
    """The file kept here that the request needs.

    None for a URL, and for an id that is not known here: it may lie at Soniox already. A stranger's file is not
    known either, so that ids tell nothing; the transcription then fails with `file_not_found`.
    """
    if order.file is not None:
        return order.file
    file_id = order.request.get("file_id")
    return files.find(session, file_id.lower(), order.sees) if file_id else None


def _row(relay: Relay, order: Order, file: File | None) -> Transcription:
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
        callback_secret_sealed=relay.vault.seal(secret) if secret else None,
        model=order.request["model"],
        traceparent=order.traceparent,
    )


def _accepted(job: Transcription) -> TimelineEntry:
    return TimelineEntry(transcription_id=job.id, at_ms=job.created_at_ms, step="accepted", source="api")


def _key(order: Order, job: Transcription) -> IdempotencyKey:
    return IdempotencyKey(
        owner=order.owner,
        key=order.idempotency_key or "",
        fingerprint=order.fingerprint(),
        transcription_id=job.id,
        created_at_ms=job.created_at_ms,
    )
