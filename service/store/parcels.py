"""Parcels: claimed deliveries with all that is needed to send them, read at once rather than one by one."""

from collections import Counter
from typing import Any, NamedTuple

from sqlalchemy import FromClause, Select, and_, bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

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


def _read_from(table: FromClause) -> Select[Any]:
    return (
        select(
            *[table.c[name] for name in _OWN],
            events.c.type,
            events.c.body,
            events.c.traceparent,
            *[endpoints.c[name] for name in _ENDPOINT],
            *[health.c[name] for name in ("failures", "failing_since_ms")],
            *[jobs.c[name] for name in ("callback_url", "callback_header", "callback_secret_sealed")],
        )
        .select_from(table)
        .outerjoin(events, events.c.id == table.c.event_id)
        .outerjoin(endpoints, endpoints.c.id == table.c.endpoint_id)
        .outerjoin(health, health.c.id == table.c.receiver)
        .outerjoin(jobs, and_(table.c.endpoint_id.is_(None), jobs.c.id == table.c.transcription_id))
    )


_READ = _read_from(deliveries).where(deliveries.c.id.in_(bindparam("ids", expanding=True)))
_TAKE = _read_from(claims.taking_those(Delivery).cte("taken"))


async def claim(connection: AsyncConnection, claimant: Claimant, limit: int) -> list[Parcel]:
    """Take due deliveries, a fair share for each receiver, with what belongs to them."""
    ready = await turns.ready(connection, claimant.now_ms)
    ids = await turns.choose(connection, ready, claimant.now_ms, limit)
    if not ids:
        return []
    parcels = await _take(connection, claimant, ids)
    await turns.pay(connection, ready, Counter(parcel.receiver for parcel in parcels), claimant.now_ms)
    return parcels


async def _take(connection: AsyncConnection, claimant: Claimant, ids: list[str]) -> list[Parcel]:
    """By one statement; SQLite has none that changes rows and reads others."""
    if connection.dialect.name == "sqlite":
        taken = await claims.claim_those(connection, Delivery, claimant, ids)
        found = await connection.execute(_READ, {"ids": [row.id for row in taken]})
    else:
        found = await claims.take_those(connection, claimant, _TAKE, ids)
    return [Parcel(*row) for row in found.all()]
