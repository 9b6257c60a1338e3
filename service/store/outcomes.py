"""How deliveries to endpoints fared over time, for the dashboard.

A step may hold a hundred thousand deliveries, and a page must not count them: the newest SAMPLE of each step stand
for all of it.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from sqlalchemy import Select, func, literal, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from service.lifecycle import DeliveryStatus
from service.tables import Delivery, table_of

deliveries = table_of(Delivery)

SAMPLE = 40


class Outcome(NamedTuple):
    """What became of the newest deliveries of one endpoint in one step."""

    step: int
    delivered: int
    exhausted: int
    pending: int


async def of_steps(connection: AsyncConnection, endpoint_id: str, edges: Sequence[int]) -> list[Outcome]:
    """For each step between two edges (ms) in which there was any delivery."""
    steps = [_sampled(endpoint_id, n, *edge) for n, edge in enumerate(pairwise(edges))]
    sample = union_all(*steps).subquery()
    counts = [func.count().filter(sample.c.status == status).label(status) for status in _STATUSES]
    found = await connection.execute(select(sample.c.step, *counts).group_by(sample.c.step))
    return [Outcome(*row) for row in found.all()]


_STATUSES = (DeliveryStatus.DELIVERED, DeliveryStatus.EXHAUSTED, DeliveryStatus.PENDING)


def _sampled(endpoint_id: str, step: int, begin_ms: int, end_ms: int) -> Select[Any]:
    theirs = deliveries.c.endpoint_id == endpoint_id
    within = (deliveries.c.created_at_ms >= begin_ms) & (deliveries.c.created_at_ms < end_ms)
    newest = select(literal(step).label("step"), deliveries.c.status).where(theirs, within)
    sample = newest.order_by(deliveries.c.created_at_ms.desc()).limit(SAMPLE).subquery()
    return select(sample.c.step, sample.c.status)
