"""Collect: from a row of the inbox to a stored result.

The row is a hint. What is stored is what Soniox says when asked with the key; and a transcription counts as a
job's own only if its `webhook_url` names the job, so that a leaked header cannot bring in a stranger's result.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.trace import SpanKind
from sqlmodel import Session

from service.errors import SonioxError, SonioxNotFound, SonioxNotReady
from service.lifecycle import OPEN_STAGES, Stage, backoff_ms
from service.marks import STUCK
from service.pipeline.adopt import adopted
from service.pipeline.results import Result, overdue, store_result, unreadable, vanished
from service.relay import Relay
from service.soniox import RemoteTranscription
from service.soniox.models import FINISHED_BADLY, FINISHED_WELL
from service.store import claims, inbox, reconciler
from service.store.inbox import ClaimedEntry
from service.tables import Transcription, Webhook
from service.transcripts.codec import MalformedTranscript, pack

LOOKS_AT_A_LAGGARD = 8  # Soniox may say "processing" for a moment after its webhook; then the reconciler's turn
LOOKS_AT_A_MALFORMED_ONE = 6  # an answer cut on the way is malformed too
LOOKS_FOR_A_LOST_ONE = 3  # a 404 may be a replica that lags


async def collect(relay: Relay, heard: ClaimedEntry) -> None:
    """Run one claimed row of the inbox to its outcome."""
    row, job = heard
    if job is not None and job.stage not in OPEN_STAGES and row.soniox_id in {job.soniox_id, *job.past_soniox_ids}:
        await _close(relay, row, "already_finished")
        return
    try:
        with _traced(relay, row, job):
            remote = await relay.soniox.get_transcription(row.soniox_id)
            await _collect_from(relay, row, job, remote)
    except SonioxNotFound:
        await _gone(relay, row, job)
    except SonioxError as error:
        await _again(relay, row, error.message)


@contextmanager
def _traced(relay: Relay, row: Webhook, job: Transcription | None) -> Iterator[None]:
    """A span of its own, after those of what went before it outside of this process: Soniox's work, the inbox."""
    parent, job_id = (job.traceparent, job.id) if job else (None, None)
    if job and row.tries == 0:
        if job.submitted_at_ms:
            relay.traces.record("transcribe", parent, job.submitted_at_ms, row.received_at_ms, job_id=job_id)
        relay.traces.record(row.source, parent, row.received_at_ms, relay.clock(), job_id=job_id)
    with relay.traces.span("collect", parent, SpanKind.CONSUMER, job_id=job_id, soniox_id=row.soniox_id):
        yield


async def _collect_from(
    relay: Relay, row: Webhook, job: Transcription | None, remote: RemoteTranscription
) -> None:
    if job is None and not row.job:
        job = await adopted(relay, remote)
    if job is None or not _belongs(job, row, remote):
        await _turn_away(relay, row, remote)
    elif remote.status == FINISHED_WELL:
        await _complete(relay, row, job, remote)
    elif remote.status in FINISHED_BADLY or row.status == STUCK:
        await _fail(relay, row, job, overdue(remote) if row.status == STUCK else remote)
    else:
        await _not_finished(relay, row, job, remote)


def _belongs(job: Transcription, row: Webhook, remote: RemoteTranscription) -> bool:
    """The job knows this id, or does not know its own yet and the transcription names the job."""
    if job.soniox_id is not None:
        return job.soniox_id == remote.id
    return remote.id not in job.past_soniox_ids and (remote.job() == job.id or not row.job)


async def _turn_away(relay: Relay, row: Webhook, remote: RemoteTranscription) -> None:
    """A second transcription of a job, or one of a deleted job: ours by its mark, so it is removed at Soniox."""
    ours = bool(row.job) and remote.job() == row.job

    def turn_away(session: Session) -> None:
        if ours and inbox.close(session, row, "superseded", relay.clock()):
            reconciler.add_removals(session, reconciler.removal_of(row.job, remote.id, None, relay.clock()))
        elif not ours:
            inbox.close(session, row, "not_ours", relay.clock())

    await relay.db.write(turn_away, wake=("cleanup",))


async def _complete(relay: Relay, row: Webhook, job: Transcription, remote: RemoteTranscription) -> None:
    started_ms = relay.clock()
    try:
        packed = await pack(await relay.soniox.get_transcript(remote.id))
    except MalformedTranscript as error:
        if row.tries < LOOKS_AT_A_MALFORMED_ONE:
            raise SonioxNotReady(f"the transcript cannot be read: {error}") from error
        await store_result(relay, row, job, Stage.FAILED, Result(unreadable(remote, error), keep_there=True))
        return
    fetched_ms = relay.clock() - started_ms
    await store_result(relay, row, job, Stage.COMPLETED, Result(remote, packed, fetched_ms))


async def _fail(relay: Relay, row: Webhook, job: Transcription, remote: RemoteTranscription) -> None:
    await store_result(relay, row, job, Stage.FAILED, Result(remote))


async def _gone(relay: Relay, row: Webhook, job: Transcription | None) -> None:
    """Soniox does not know the id: a job that has it has lost its result, after a few looks."""
    if job is None or job.soniox_id != row.soniox_id:
        await _close(relay, row, "not_at_soniox")
    elif row.tries < LOOKS_FOR_A_LOST_ONE:
        await _again(relay, row, "Soniox does not have it")
    else:
        await _fail(relay, row, job, vanished(row.soniox_id))


async def _not_finished(relay: Relay, row: Webhook, job: Transcription, remote: RemoteTranscription) -> None:
    if row.tries < LOOKS_AT_A_LAGGARD:
        await _again(relay, row, f"Soniox says {remote.status}")
        return
    await _close(relay, row, "not_finished")


async def _again(relay: Relay, row: Webhook, reason: str) -> None:
    due_at_ms = relay.clock() + backoff_ms(row.tries, first_ms=250, chance=relay.chance)

    def postpone(session: Session) -> None:
        claims.postpone(session, Webhook, row, due_at_ms=due_at_ms, error=reason)

    await relay.db.write(postpone)


async def _close(relay: Relay, row: Webhook, outcome: str) -> None:
    def close(session: Session) -> None:
        inbox.close(session, row, outcome, relay.clock())

    await relay.db.write(close)
