"""Which rows are claimed how, and which step runs them: the table that ties the worker to the pipeline."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from service.pipeline.cleanup import cleanup
from service.pipeline.collect import collect
from service.pipeline.notify import notify
from service.pipeline.recover import recover
from service.pipeline.submit import submit
from service.relay import Relay
from service.store import claims, parcels, room
from service.store.claims import Claimant
from service.tables import Delivery, Due, Recovery, Removal, Transcription, Webhook
from service.worker import Lane

D = TypeVar("D", bound=Due)


def lanes_of(relay: Relay) -> list[Lane]:
    """All lanes, in the order of the flow."""

    async def claim_submissions(
        connection: AsyncConnection, claimant: Claimant, limit: int
    ) -> Sequence[Transcription]:
        return await room.claim_submissions(connection, relay.governor.quotas, claimant, limit)

    return [
        Lane("submit", Transcription, claim_submissions, submit, at_once=16, may_claim=relay.governor.may_submit),
        Lane("collect", Webhook, _oldest_due(Webhook), collect, at_once=32),
        Lane("notify", Delivery, parcels.claim, notify, at_once=256),
        Lane("recover", Recovery, _oldest_due(Recovery), recover, at_once=2),
        Lane("cleanup", Removal, _oldest_due(Removal), cleanup, at_once=8),
    ]


def _oldest_due(model: type[D]) -> Callable[[AsyncConnection, Claimant, int], Awaitable[Sequence[D]]]:
    async def claim(connection: AsyncConnection, claimant: Claimant, limit: int) -> Sequence[D]:
        return await claims.claim(connection, model, claimant, limit=limit)

    return claim
