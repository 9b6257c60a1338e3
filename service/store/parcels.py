"""Parcels: claimed deliveries with all that is needed to send them, read at once rather than one by one."""

from collections import Counter
from typing import Any, NamedTuple

from sqlalchemy import and_, bindparam, select
from sqlmodel import Session

from service.store import claims, turns
from service.store.claims import Claimant
from service.tables import Delivery, Endpoint, Event, Receiver, Transcription, table_of

deliveries = table_of(Delivery)
endpoints = table_of(Endpoint)
events = table_of(Event)
health = table_of(Receiver)
jobs = table_of(Transcription)


class Parcel(NamedTuple):
    """A claimed delivery with all that is needed to send it; None where there is no such thing."""

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
    headers_sealed: str | None
    secret_sealed: str | None
    past_secrets: list[dict[str, Any]] | None
    failures: int | None
    failing_since_ms: int | None
    callback_url: str | None
    callback_header: str | None
    callback_secret_sealed: str | None


_OWN = ("id", "fence", "tries", "event_id", "owner", "transcription_id", "endpoint_id", "receiver")
_ENDPOINT = ("url", "include", "headers_sealed", "secret_sealed", "past_secrets")


def claim(session: Session, claimant: Claimant, limit: int) -> list[Parcel]:
    """Take due deliveries, a fair share for each receiver, with what belongs to them."""
    ready = turns.ready(session, claimant.now_ms)
    ids = turns.choose(session, ready, claimant.now_ms, limit)
    if not ids:
        return []
    taken = claims.claim_those(session, Delivery, claimant, ids)
    turns.pay(session, ready, Counter(row.receiver for row in taken), claimant.now_ms)
    return [Parcel(*row) for row in session.execute(_READ, {"ids": [row.id for row in taken]})]


_READ = (
    select(
        *[deliveries.c[name] for name in _OWN],
        events.c.type,
        events.c.body,
        events.c.traceparent,
        *[endpoints.c[name] for name in _ENDPOINT],
        *[health.c[name] for name in ("failures", "failing_since_ms")],
        *[jobs.c[name] for name in ("callback_url", "callback_header", "callback_secret_sealed")],
    )
    .select_from(deliveries)
    .outerjoin(events, events.c.id == deliveries.c.event_id)
    .outerjoin(endpoints, endpoints.c.id == deliveries.c.endpoint_id)
    .outerjoin(health, health.c.id == deliveries.c.receiver)
    .outerjoin(jobs, and_(deliveries.c.endpoint_id.is_(None), jobs.c.id == deliveries.c.transcription_id))
    .where(deliveries.c.id.in_(bindparam("ids", expanding=True)))
)
