"""Deliveries and their attempts."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.db import STATEMENTS, by_itself
from service.lifecycle import DeliveryStatus
from service.store import receivers, transcriptions
from service.store.changes import Change, insertion, run_together
from service.store.claims import FREE, FREE_SQL
from service.store.paging import Page, cut
from service.store.parcels import Parcel
from service.store.receivers import Failure
from service.store.rows import as_model, as_models
from service.tables import NOT_DELIVERED, Attempt, Delivery, TimelineEntry, table_of

deliveries = table_of(Delivery)
attempts = table_of(Attempt)


@dataclass(frozen=True)
class Settlement:
    """One try and all that follows from it. `due_at_ms` None: no further try is due.

    `failure` is what it means for the receiver; None when it was delivered, `healed` then tells that it had failed
    before.
    """

    parcel: Parcel
    attempt: Attempt
    status: DeliveryStatus
    due_at_ms: int | None
    failure: Failure | None
    entry: TimelineEntry | None

    @property
    def is_smooth(self) -> bool:
        """Whether nothing follows from it but for the delivery itself."""
        return self.failure is None and not self.healed and self.parcel.endpoint_id is not None

    @property
    def healed(self) -> bool:
        return self.status is DeliveryStatus.DELIVERED and bool(self.parcel.failures)


async def settle(connection: AsyncConnection, settled: Sequence[Settlement]) -> Sequence[None]:
    """Write down what came of some tries; a delivery whose claim was lost keeps its state."""
    changes = [
        *insertion([one.attempt for one in settled]),
        Change("settled", SETTLED, [_values(one) for one in settled], SETTLE),
        *insertion([one.entry for one in settled if one.entry]),
    ]
    await run_together(connection, changes)
    await receivers.count_failures(connection, [one.failure for one in settled if one.failure])
    await receivers.mark_healthy(connection, [one.parcel.receiver for one in settled if one.healed])
    for one in settled:
        code, parcel = one.attempt.status_code, one.parcel
        if parcel.endpoint_id is None and parcel.transcription_id and code:
            await transcriptions.mark_called_back(connection, parcel.transcription_id, code)
    return [None] * len(settled)


@by_itself(STATEMENTS)
async def settle_smooth(connection: AsyncConnection, settled: Sequence[Settlement]) -> Sequence[None]:
    """The same for those that are smooth, by one statement."""
    return await settle(connection, settled)


SETTLE = f"""
    UPDATE deliveries SET status = settled.status, due_at_ms = settled.due_at_ms, tries = settled.tries,
        last_error = settled.last_error, delivered_at_ms = settled.delivered_at_ms, {FREE_SQL}
      FROM settled WHERE deliveries.id = settled.id AND deliveries.fence = settled.fence
"""  # noqa: S608  # names of ours
SETTLED = (
    ("id", "text"),
    ("fence", "bigint"),
    ("status", "text"),
    ("due_at_ms", "bigint"),
    ("tries", "bigint"),
    ("last_error", "text"),
    ("delivered_at_ms", "bigint"),
)


def _values(one: Settlement) -> tuple[str | int | None, ...]:
    """In the order of SETTLED."""
    parcel, attempt = one.parcel, one.attempt
    delivered_at_ms = attempt.at_ms + attempt.duration_ms if one.status is DeliveryStatus.DELIVERED else None
    return (
        *(parcel.id, parcel.fence, one.status, one.due_at_ms, parcel.tries + 1),
        *(attempt.error, delivered_at_ms),
    )


async def get(connection: AsyncConnection, delivery_id: str, owner: str | None) -> Delivery | None:
    """One delivery of `owner`'s, or anybody's for None."""
    return as_model(
        Delivery, await connection.execute(select(deliveries).where(deliveries.c.id == delivery_id, *_of(owner)))
    )


@dataclass(frozen=True)
class Filter:
    """Which deliveries are listed; None: any."""

    owner: str | None
    endpoint_id: str | None = None
    status: str | None = None
    event_id: str | None = None


async def page_of(connection: AsyncConnection, chosen: Filter, page: Page) -> list[Delivery]:
    """One page, and one more row if there is a next one."""
    query = select(deliveries).where(*_of(chosen.owner))
    if chosen.status not in {None, DeliveryStatus.DELIVERED}:
        query = query.where(text(NOT_DELIVERED))
    for name in ("endpoint_id", "status", "event_id"):
        if (wanted := getattr(chosen, name)) is not None:
            query = query.where(deliveries.c[name] == wanted)
    return as_models(Delivery, await connection.execute(cut(query, deliveries, page)))


async def again(connection: AsyncConnection, delivery: Delivery, now_ms: int) -> None:
    """Send it now, with all tries of the schedule before it; the outcome of one under way no longer counts."""
    values = {"status": DeliveryStatus.PENDING, "due_at_ms": now_ms, "tries": 0, "delivered_at_ms": None, **FREE}
    mine = update(deliveries).where(deliveries.c.id == delivery.id)
    await connection.execute(mine.values(fence=deliveries.c.fence + 1, **values))
    await receivers.open_again(connection, delivery.receiver)


async def abandon(connection: AsyncConnection, endpoint_id: str) -> None:
    """Its endpoint is gone: what was not delivered never will be, and says so."""
    pending = and_(text(NOT_DELIVERED), deliveries.c.status == DeliveryStatus.PENDING)
    open_ones = and_(deliveries.c.endpoint_id == endpoint_id, pending)
    values = {
        "status": DeliveryStatus.EXHAUSTED,
        "due_at_ms": None,
        "last_error": "the endpoint was deleted",
        **FREE,
    }
    await connection.execute(update(deliveries).where(open_ones).values(fence=deliveries.c.fence + 1, **values))


async def of_transcription(connection: AsyncConnection, transcription_id: str) -> list[Delivery]:
    """All deliveries about one transcription, oldest first."""
    query = select(deliveries).where(deliveries.c.transcription_id == transcription_id)
    return as_models(
        Delivery, await connection.execute(query.order_by(deliveries.c.created_at_ms, deliveries.c.id))
    )


async def statuses_of(connection: AsyncConnection, transcription_ids: Sequence[str]) -> dict[str, list[str]]:
    """How the deliveries about some transcriptions stand, by transcription, oldest first."""
    theirs = deliveries.c.transcription_id.in_(transcription_ids)
    query = select(deliveries.c.transcription_id, deliveries.c.status).where(theirs).order_by(deliveries.c.id)
    found: dict[str, list[str]] = {}
    for row in (await connection.execute(query)).all():
        found.setdefault(row.transcription_id, []).append(row.status)
    return found


async def attempts_of(connection: AsyncConnection, delivery_ids: list[str]) -> list[Attempt]:
    """All tries of some deliveries, oldest first."""
    query = select(attempts).where(attempts.c.delivery_id.in_(delivery_ids)).order_by(attempts.c.id)
    return as_models(Attempt, await connection.execute(query))


async def count_attempts(connection: AsyncConnection, delivery_ids: list[str]) -> dict[str, int]:
    """How often each was tried."""
    query = select(attempts.c.delivery_id, func.count()).where(attempts.c.delivery_id.in_(delivery_ids))
    found = (await connection.execute(query.group_by(attempts.c.delivery_id))).all()
    return {row[0]: row[1] for row in found}


def _of(owner: str | None) -> list[ColumnElement[bool]]:
    return [] if owner is None else [deliveries.c.owner == owner]
