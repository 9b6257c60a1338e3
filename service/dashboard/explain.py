"""One sentence for operators that explains why a job is not done yet. Pure functions.

The first reason that applies is the answer. Reasons that stop all work come first, normal waits last.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import assert_never

from service.dashboard.format import duration
from service.lifecycle import DeliveryStatus, Stage
from service.store.system import WORKER_SILENT_MS
from service.tables import Delivery, Transcription, Webhook


@dataclass(frozen=True)
class JobFacts:
    """The state of a job and of the service, read at `now_ms`.

    `trouble` is the reason why the governor of this process holds work back. `silent_ms` is the time since the
    last heartbeat of any worker, None if there was never one. `hint` is the open inbox entry of the job. `room`
    is True if Soniox's quotas allow another job.
    """

    job: Transcription
    now_ms: int
    trouble: str | None = None
    silent_ms: int | None = 0
    room: bool = True
    hint: Webhook | None = None
    deliveries: Sequence[Delivery] = field(default_factory=list)
    disabled: frozenset[str] = frozenset()  # endpoints


def why_not_done(seen: JobFacts) -> str | None:
    """Return the sentence, or None if the result is stored and no notification is pending or exhausted."""
    stage = Stage(seen.job.stage)
    match stage:
        case Stage.FAILED:
            return _failed(seen.job)
        case Stage.COMPLETED:
            return _undelivered(seen)
        case Stage.ACCEPTED | Stage.SUBMITTING | Stage.SUBMITTED:
            return _no_worker(seen) or _open(seen, stage)
        case _:
            assert_never(stage)


def _open(seen: JobFacts, stage: Stage) -> str:
    if seen.hint is not None:
        return _collecting(seen, seen.hint)
    if stage is Stage.SUBMITTED:
        return _at_soniox(seen)
    return _submitting(seen) if stage is Stage.SUBMITTING else _waiting(seen)


def _failed(job: Transcription) -> str:
    """Explain a failed job with its stored `error_type` and message."""
    return f"It failed and is not retried automatically ({job.error_type}): {_sentence(job.error_message)}"


def _no_worker(seen: JobFacts) -> str | None:
    if seen.silent_ms is None:
        return "No worker has ever started, so nothing is being done: run `soniox-relay worker`."
    if seen.silent_ms > WORKER_SILENT_MS:
        return f"No worker has given a sign of life for {duration(seen.silent_ms)}, so nothing is being done."
    return None


def _waiting(seen: JobFacts) -> str:
    if seen.trouble:
        return f"It waits here because work for Soniox is parked: {_sentence(seen.trouble)}"
    if not seen.room:
        return "It waits here until there is room: as many jobs as the quotas allow are at Soniox already."
    said = f" The last try came to: {_sentence(seen.job.last_error)}" if seen.job.last_error else ""
    wait_ms = (seen.job.due_at_ms or seen.now_ms) - seen.now_ms
    if wait_ms > 0:
        return f"It waits for its next try, in {duration(wait_ms)}.{said}"
    return f"It is next in line to be sent to Soniox, due for {duration(-wait_ms)}.{said}"


def _submitting(seen: JobFacts) -> str:
    job, left_ms = seen.job, (seen.job.lease_until_ms or 0) - seen.now_ms
    if left_ms > 0:
        return f"A worker ({job.leased_by}) is sending it to Soniox right now."
    if job.unsettled:
        wait_ms = max(0, (job.due_at_ms or seen.now_ms) - seen.now_ms)
        when = f"in {duration(wait_ms)}" if wait_ms else "now"
        return (
            f"Soniox's answer to the create was lost; {when} its list is searched before anything is sent again."
        )
    return "The worker that was sending it has stopped; another one takes it over and looks at Soniox first."


def _at_soniox(seen: JobFacts) -> str:
    job = seen.job
    since_ms = seen.now_ms - (job.submitted_at_ms or seen.now_ms)
    says = {"processing": "has been transcribing it", "queued": "has had it in its queue"}
    sentence = f"Soniox {says.get(job.soniox_status or '', 'has had it')} for {duration(since_ms)}"
    check_ms = (job.check_at_ms or seen.now_ms) - seen.now_ms
    asked = f"in {duration(check_ms)}" if check_ms > 0 else "with its next sweep"
    sentence += f"; without a webhook the reconciler asks {asked}."
    if job.webhook_status_code and not 200 <= job.webhook_status_code < 300:
        sentence += f" Our webhook answered Soniox {job.webhook_status_code}."
    return sentence


def _collecting(seen: JobFacts, hint: Webhook) -> str:
    heard = "The reconciler found" if hint.source == "reconciler" else "Soniox's webhook said"
    if (hint.lease_until_ms or 0) > seen.now_ms:
        return f"{heard} `{hint.status}`, and a worker is fetching the result right now."
    if hint.last_error:
        wait_ms = max(0, (hint.due_at_ms or seen.now_ms) - seen.now_ms)
        again = f"the next look is in {duration(wait_ms)}" if wait_ms else "the next look is due"
        return f"{heard} `{hint.status}`, but the last look said: {_clause(hint.last_error)}; {again}."
    return f"{heard} `{hint.status}`; the result is about to be fetched."


def _undelivered(seen: JobFacts) -> str | None:
    """Explain which notification of a completed job is exhausted or pending, or return None."""
    exhausted = [one for one in seen.deliveries if one.status == DeliveryStatus.EXHAUSTED]
    for one in exhausted:
        return f"The transcript is stored, but {_receiver(one)} never took the notification: {_last(one)}"
    pending = [one for one in seen.deliveries if one.status == DeliveryStatus.PENDING]
    if not pending:
        return None
    one = min(pending, key=lambda delivery: delivery.due_at_ms or 0)
    if one.endpoint_id in seen.disabled:
        return (
            f"The transcript is stored; its notification is held because {_receiver(one)} is paused or disabled."
        )
    wait_ms = (one.due_at_ms or seen.now_ms) - seen.now_ms
    when = f"in {duration(wait_ms)}" if wait_ms > 0 else "now"
    if not one.last_error:
        return f"The transcript is stored; {_receiver(one)} is told {when}."
    return f"The transcript is stored; {_receiver(one)} is tried again {when}: {_last(one)}"


def _receiver(delivery: Delivery) -> str:
    return f"endpoint {delivery.endpoint_id}" if delivery.endpoint_id else "the caller's webhook_url"


def _last(delivery: Delivery) -> str:
    return _sentence(delivery.last_error)


def _sentence(text: str | None) -> str:
    return f"{_clause(text)}."


def _clause(text: str | None) -> str:
    return (text or "no reason was given").strip().rstrip(".")
