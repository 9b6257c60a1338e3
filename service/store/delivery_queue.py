"""The fair queue of deliveries: which are claimed next, with everything needed to send them."""

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple, cast

from sqlalchemy import TextClause, and_, bindparam, text, update
from sqlalchemy import select as select_columns
from sqlmodel import Session, select

from service.lifecycle import TRIPPED_AFTER
from service.store import claims, endpoints
from service.store.claims import Claimant
from service.store.endpoints import receivers
from service.tables import Delivery, Endpoint, Event, Receiver, Transcription, table_of

deliveries = table_of(Delivery)

CALLBACK_IN_FLIGHT = 10  # to one caller's own URLs on one server
BURST_S = 1.0  # how much unused rate is carried over
READ_AT_ONCE = 32  # receivers in one statement

# Deliveries read per receiver; its window may be shorter. They are literals in the statement: PostgreSQL
# estimates a LIMIT that it does not know at planning time as a tenth of all rows.
QUEUE_LENGTHS = (10, 100)

# Finds the distinct receivers with one index lookup each, however many deliveries wait. Written as text because
# the same statement in SQLAlchemy Core is hard to read.
WAITING = text(
    """
    WITH RECURSIVE waiting(receiver, head_ms) AS (
        SELECT CAST('' AS VARCHAR), CAST(0 AS BIGINT)
        UNION ALL
        SELECT head.receiver, head.due_at_ms FROM waiting JOIN deliveries AS head ON head.id = (
            SELECT later.id FROM deliveries AS later
             WHERE later.due_at_ms IS NOT NULL AND later.receiver > waiting.receiver
             ORDER BY later.receiver, later.due_at_ms, later.id LIMIT 1)
    )
    SELECT waiting.receiver, waiting.head_ms, endpoints.enabled, endpoints.max_in_flight, endpoints.rate_per_s,
           COALESCE(receivers.failures, 0) AS failures, receivers.circuit_open_until_ms,
           COALESCE(receivers.rate_spent_until_ms, 0) AS rate_spent_until_ms
      FROM waiting
      LEFT JOIN endpoints ON endpoints.id = waiting.receiver
      LEFT JOIN receivers ON receivers.id = waiting.receiver
     WHERE waiting.receiver <> '' AND waiting.head_ms <= :now_ms
     ORDER BY waiting.head_ms, waiting.receiver
    """
)
WINDOW = """
    SELECT * FROM (
        SELECT id, receiver, lease_until_ms FROM deliveries WHERE {theirs} LIMIT {length}) AS w{number}
"""
# PostgreSQL can read this order from one index only. The planner cannot see values that come from a subselect,
# so a generic plan costs no more than a custom one and is kept; otherwise every claim is planned again, which
# takes longer than running it. With the same condition SQLite would not stop reading at `now_ms`.
THEIRS = {
    "sqlite": "receiver = :receiver_{number} AND due_at_ms <= :now_ms ORDER BY due_at_ms, id",
    "postgresql": """
        receiver >= (SELECT CAST(:receiver_{number} AS VARCHAR)) AND due_at_ms IS NOT NULL
        AND (receiver, due_at_ms)
         <= ((SELECT CAST(:receiver_{number} AS VARCHAR)), (SELECT CAST(:now_ms AS BIGINT)))
        ORDER BY receiver, due_at_ms, id
    """,
}


class ClaimOrder(NamedTuple):
    """A receiver with a due delivery. `enabled`, `max_in_flight` and `rate_per_s` are None for a callback."""

    receiver: str
    head_ms: int
    enabled: bool | None
    max_in_flight: int | None
    rate_per_s: float | None
    failures: int
    circuit_open_until_ms: int | None
    rate_spent_until_ms: int

    def window(self) -> int:
        """Return how many deliveries may be in flight."""
        return 1 if self.failures >= TRIPPED_AFTER else self.max_in_flight or CALLBACK_IN_FLIGHT

    def affordable(self, now_ms: int) -> int:
        """Return how many deliveries the receiver's rate allows now."""
        if self.rate_per_s is None:
            return self.window()
        saved_ms = now_ms + max(BURST_S * 1000, 1000 / self.rate_per_s) - max(self.rate_spent_until_ms, now_ms)
        return max(0, int(saved_ms * self.rate_per_s / 1000 + 1e-6))


class _ReceiverSlot(NamedTuple):
    id: str
    receiver: str
    lease_until_ms: int | None


def ready_receivers(session: Session, now_ms: int) -> list[ClaimOrder]:
    """Return the receivers that may get a delivery now, the longest waiting first."""
    found = cast("list[ClaimOrder]", session.execute(WAITING, {"now_ms": now_ms}).all())
    turns = [ClaimOrder(*row) for row in found]
    for turn in turns:
        if turn.enabled is not None and not turn.enabled:
            endpoints.hold_deliveries(session, turn.receiver, now_ms)
    willing = [
        turn for turn in turns if turn.enabled in {None, True} and (turn.circuit_open_until_ms or 0) <= now_ms
    ]
    return _without_locked(session, willing)


def _without_locked(session: Session, turns: list[ClaimOrder]) -> list[ClaimOrder]:
    """Lock the rows of receivers with a rate. A receiver that another worker has locked is left out."""
    rated = [turn.receiver for turn in turns if turn.rate_per_s is not None]
    if not rated:
        return turns
    query = select(receivers.c.id, receivers.c.rate_spent_until_ms).where(receivers.c.id.in_(rated))
    locked = session.exec(query.order_by(receivers.c.id).with_for_update(skip_locked=True))
    paid: dict[str, int] = dict(locked.all())
    return [
        turn._replace(rate_spent_until_ms=paid.get(turn.receiver, 0))
        for turn in turns
        if turn.rate_per_s is None or turn.receiver in paid
    ]


def choose(session: Session, turns: list[ClaimOrder], now_ms: int, limit: int) -> list[str]:
    """Return ids of free deliveries in rounds: one of each receiver, then a second one of each, and so on."""
    free: list[list[str]] = []
    for begin in range(0, len(turns), READ_AT_ONCE):
        free += _free_slots(session, turns[begin : begin + READ_AT_ONCE], now_ms)
        if sum(len(ids) for ids in free) >= limit:
            break
    rounds = itertools.zip_longest(*free)
    return list(itertools.islice((one for turn in rounds for one in turn if one is not None), limit))


def _free_slots(session: Session, turns: Sequence[ClaimOrder], now_ms: int) -> list[list[str]]:
    affordable = {turn: number for turn in turns if (number := turn.affordable(now_ms))}
    if not affordable:
        return []
    places = _slots(session, list(affordable), now_ms)
    return [
        [place.id for place in places[turn.receiver] if (place.lease_until_ms or 0) <= now_ms][:number]
        for turn, number in affordable.items()
    ]


def _slots(session: Session, turns: list[ClaimOrder], now_ms: int) -> dict[str, list[_ReceiverSlot]]:
    """Return the windows of these receivers."""
    lengths = {turn.receiver: _length(turn.window()) for turn in turns}
    receivers = sorted(lengths, key=lengths.__getitem__)  # few distinct statements to plan
    query = _windows(session.get_bind().dialect.name, tuple(lengths[receiver] for receiver in receivers))
    values = {f"receiver_{number}": receiver for number, receiver in enumerate(receivers)}
    found = cast("list[_ReceiverSlot]", session.execute(query, {"now_ms": now_ms, **values}).all())
    places: dict[str, list[_ReceiverSlot]] = {receiver: [] for receiver in receivers}
    for place in found:
        places[place.receiver].append(place)
    return {turn.receiver: places[turn.receiver][: turn.window()] for turn in turns}


def _length(window: int) -> int:
    return next((length for length in QUEUE_LENGTHS if window <= length), QUEUE_LENGTHS[-1])


@cache
def _windows(dialect: str, lengths: tuple[int, ...]) -> TextClause:
    windows = [
        WINDOW.format(theirs=THEIRS[dialect].format(number=number), length=length, number=number)
        for number, length in enumerate(lengths)
    ]
    return text(" UNION ALL ".join(windows))


def charge_rate(session: Session, turns: list[ClaimOrder], claimed: Counter[str], now_ms: int) -> None:
    """Charge the claimed deliveries to the rates of receivers that have one."""
    for turn in turns:
        if turn.rate_per_s is not None and claimed[turn.receiver]:
            cost_ms = math.ceil(claimed[turn.receiver] * 1000 / turn.rate_per_s)
            paid = update(receivers).where(receivers.c.id == turn.receiver)
            session.exec(paid.values(rate_spent_until_ms=max(turn.rate_spent_until_ms, now_ms) + cost_ms))


endpoint_rows = table_of(Endpoint)
events = table_of(Event)
health = table_of(Receiver)
jobs = table_of(Transcription)


class ClaimedDelivery(NamedTuple):
    """A claimed delivery with everything needed to send it. A column is None when its row does not exist."""

    id: str
    fence: int
    tries: int
    event_id: str
    owner: str
    transcription_id: str | None
    endpoint_id: str | None
    receiver: str
    event_type: str | None
    body: bytes | None
    traceparent: str | None
    url: str | None
    include: str | None
    headers_encrypted: str | None
    secret_encrypted: str | None
    previous_secrets: list[dict[str, Any]] | None
    failures: int | None
    failing_since_ms: int | None
    callback_url: str | None
    callback_header: str | None
    callback_secret_encrypted: str | None


_OWN = ("id", "fence", "tries", "event_id", "owner", "transcription_id", "endpoint_id", "receiver")
_ENDPOINT = ("url", "include", "headers_encrypted", "secret_encrypted", "previous_secrets")


def claim(session: Session, claimant: Claimant, limit: int) -> list[ClaimedDelivery]:
    """Claim due deliveries, a fair share for each receiver."""
    ready = ready_receivers(session, claimant.now_ms)
    ids = choose(session, ready, claimant.now_ms, limit)
    if not ids:
        return []
    taken = claims.claim_those(session, Delivery, claimant, ids)
    charge_rate(session, ready, Counter(row.receiver for row in taken), claimant.now_ms)
    return [ClaimedDelivery(*row) for row in session.execute(_READ, {"ids": [row.id for row in taken]})]


_READ = (
    select_columns(
        *[deliveries.c[name] for name in _OWN],
        events.c.type,
        events.c.body,
        events.c.traceparent,
        *[endpoint_rows.c[name] for name in _ENDPOINT],
        *[health.c[name] for name in ("failures", "failing_since_ms")],
        *[jobs.c[name] for name in ("callback_url", "callback_header", "callback_secret_encrypted")],
    )
    .select_from(deliveries)
    .outerjoin(events, events.c.id == deliveries.c.event_id)
    .outerjoin(endpoint_rows, endpoint_rows.c.id == deliveries.c.endpoint_id)
    .outerjoin(health, health.c.id == deliveries.c.receiver)
    .outerjoin(jobs, and_(deliveries.c.endpoint_id.is_(None), jobs.c.id == deliveries.c.transcription_id))
    .where(deliveries.c.id.in_(bindparam("ids", expanding=True)))
)
