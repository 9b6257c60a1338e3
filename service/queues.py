"""The queues of the worker: how each claims rows, and which step of the pipeline runs them."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlmodel import Session

from service.pipeline.cleanup import cleanup
from service.pipeline.collect import collect
from service.pipeline.deliver import deliver, recover
from service.pipeline.submit import submit
from service.relay import Relay
from service.store import claims, delivery_queue, inbox, quotas
from service.store.claims import Claimant
from service.store.delivery_queue import ClaimedDelivery
from service.store.inbox import ClaimedEntry
from service.tables import Delivery, QueueColumns, Recovery, Removal, Transcription, Webhook
from service.worker import Queue

D = TypeVar("D", bound=QueueColumns)
R = TypeVar("R", bound=QueueColumns | ClaimedEntry)
ClaimFunction = Callable[[Session, Claimant, int], Sequence[R]]


def queues_of(relay: Relay) -> list[Queue]:
    """Return all queues, in the order of the pipeline."""

    def claim_submissions(session: Session, claimant: Claimant, limit: int) -> Sequence[Transcription]:
        return quotas.claim_submissions(session, relay.governor.quotas, claimant, limit)

    return [
        Queue("submit", Transcription, claim_submissions, submit, 16, _own_id, relay.governor.may_submit),
        Queue("collect", Webhook, inbox.claim, collect, 64, _transcription_id),
        Queue("deliver", Delivery, delivery_queue.claim, deliver, 256, _delivery_transcription_id),
        Queue("recover", Recovery, oldest_due(Recovery), recover, 2, _no_transcription),
        Queue("cleanup", Removal, oldest_due(Removal), cleanup, 8, _delivery_transcription_id),
    ]


def _own_id(row: Transcription) -> str | None:
    return row.id


def _transcription_id(row: ClaimedEntry) -> str | None:
    return row.row.transcription_id or None


def _delivery_transcription_id(row: Removal | ClaimedDelivery) -> str | None:
    return row.transcription_id


def _no_transcription(_row: Recovery) -> str | None:
    return None


def oldest_due(model: type[D]) -> ClaimFunction[D]:
    """Return a function that claims rows of one table, the longest due first."""

    def take(session: Session, claimant: Claimant, limit: int) -> Sequence[D]:
        return claims.claim(session, model, claimant, limit=limit)

    return take
