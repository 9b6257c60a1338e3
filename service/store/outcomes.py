"""How deliveries to endpoints fared over time, for the dashboard.

A step may hold a hundred thousand deliveries, and a page must not count them: the newest few of each step stand
for all of it.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from sqlalchemy import TextClause, text
from sqlmodel import Session

# Read as text: putting together two dozen selects in Core for each endpoint costs more than running them.
SAMPLE = (
    "SELECT * FROM (SELECT {0} AS step, status FROM deliveries WHERE endpoint_id = :endpoint_id"
    " AND created_at_ms >= :edge_{0} AND created_at_ms < :edge_{1} ORDER BY created_at_ms DESC LIMIT 40) AS s{0}"
)
COUNTED = """
    SELECT step,
           count(*) FILTER (WHERE status = 'delivered') AS delivered,
           count(*) FILTER (WHERE status = 'exhausted') AS exhausted,
           count(*) FILTER (WHERE status = 'pending') AS pending
      FROM ({0}) AS sample GROUP BY step
"""


class Outcome(NamedTuple):
    """What became of the newest deliveries of one endpoint in one step."""

    step: int
    delivered: int
    exhausted: int
    pending: int


def of_steps(session: Session, endpoint_id: str, edges: Sequence[int]) -> list[Outcome]:
    """For each step between two edges (ms) in which there was any delivery."""
    values: dict[str, str | int] = {f"edge_{n}": edge for n, edge in enumerate(edges)}
    found = session.execute(_statement(len(edges) - 1), {**values, "endpoint_id": endpoint_id})
    return [Outcome(*row) for row in found.all()]


@cache
def _statement(steps: int) -> TextClause:
    return text(COUNTED.format(" UNION ALL ".join(SAMPLE.format(n, n + 1) for n in range(steps))))
