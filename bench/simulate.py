"""A year at 100 million transcriptions, on a scaled clock: does the arithmetic of docs/scaling.md hold?

    python -m bench.simulate [--scale 50000]

One row stands for `scale`. Each step is five days: their jobs are written as the pipeline leaves them, with a
transcript of 500 tokens, six timeline entries, one delivery with one try; then the real purge runs on that day's
clock, and now and then a vacuum. What the database then holds is compared with what the arithmetic says.
"""

import argparse
import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

import asyncpg
from sqlmodel import Session

from bench.table import Row, show
from bench.transcripts import body, tokens
from service.clock import DAY_MS
from service.db.schema import upgrade
from service.ids import new_id, new_uuid
from service.lifecycle import DeliveryStatus, Stage
from service.pipeline.results import transcript_rows
from service.relay import Relay, open_relay
from service.services.maintenance import purge_expired
from service.settings import Settings
from service.store import transcription_queries, transcripts
from service.store.statements import insert_all
from service.tables import Attempt, Delivery, Event, TimelineEntry, Transcription, Webhook
from service.transcripts.codec import Packed, pack
from tests.support.postgres import aside, execute, postgres_server

JOBS_A_YEAR = 100_000_000
SCALE = 50_000
RETENTION_DAYS = 90
STEP_DAYS = 5
VACUUM_EACH = 15  # days; a fifth of what is kept changes in 18
START_MS = 1_800_000_000_000
KEPT_BYTES = 20_000  # of one job with its transcript, search index and history: docs/scaling.md
SLACK = 1.25  # what a purge frees is used again only after a vacuum, which comes when a fifth has changed
LEFT_BYTES = 1_500  # of one job after its purge: the receipt
STEPS = ("accepted", "submitting", "submitted", "webhook_received", "transcript_fetched", "delivered")
BODY = b'{"type": "transcription.completed", "data": {' + b" " * 600 + b"}}"


async def write_job(relay: Relay, at_ms: int, packed: Packed) -> None:
    """One finished job with all that belongs to it."""
    job, event, delivery = new_uuid(at_ms), new_id("evt", at_ms), new_id("dlv", at_ms)
    times: dict[str, Any] = {
        "created_at_ms": at_ms,
        "submitted_at_ms": at_ms + 300,
        "finished_at_ms": at_ms + 9_000,
    }
    request = {"model": "stt-async-v5", "audio_url": "https://example.com/calls/recording.wav"}
    soniox_id = new_uuid(at_ms)
    done: dict[str, Any] = {"stage": Stage.COMPLETED, "soniox_id": soniox_id, "soniox_status": "completed"}
    seen: dict[str, Any] = {
        "received_at_ms": at_ms,
        "last_seen_at_ms": at_ms,
        "handled_at_ms": at_ms,
        "outcome": "stored",
    }
    of: dict[str, Any] = {"owner": "o", "transcription_id": job}

    def write(session: Session) -> None:
        row = Transcription(
            id=job, owner="o", filename="a.wav", model="stt-async-v5", request=request, **done, **times
        )
        insert_all(session, [row])
        hint = Webhook(
            id=new_uuid(at_ms),
            transcription_id=job,
            soniox_id=soniox_id,
            status="completed",
            source="webhook",
            **seen,
        )
        insert_all(session, [hint])
        transcription_queries.add_timeline_entries(
            session,
            *[TimelineEntry(transcription_id=job, at_ms=at_ms, step=step, source="worker") for step in STEPS],
        )
        transcripts.store(session, transcript_rows("o", job, packed, at_ms))
        told = Event(id=event, type="transcription.completed", created_at_ms=at_ms, body=BODY, **of)
        insert_all(session, [told])
        sent: dict[str, Any] = {
            "endpoint_id": "ep",
            "receiver": "ep",
            "status": DeliveryStatus.DELIVERED,
            "tries": 1,
        }
        insert_all(
            session,
            [Delivery(id=delivery, event_id=event, created_at_ms=at_ms, delivered_at_ms=at_ms, **sent, **of)],
        )
        insert_all(session, [Attempt(delivery_id=delivery, at_ms=at_ms, duration_ms=20, status_code=200)])

    await relay.db.write(write)


def stopped_at(now_ms: int) -> Callable[[], int]:
    """A clock that does not go."""
    return lambda: now_ms


async def live_a_year(relay: Relay, url: str, scale: int) -> int:
    """Write and purge day by day; how many jobs there were."""
    packed = await pack(body(tokens(500)))
    each, number = JOBS_A_YEAR * STEP_DAYS / 365 / scale, 0
    for day in range(STEP_DAYS, 366, STEP_DAYS):
        now_ms = START_MS + day * DAY_MS
        until = round(each * day / STEP_DAYS)
        await asyncio.gather(*(write_job(relay, now_ms - place, packed) for place in range(until - number)))
        number = until
        await purge_expired(dataclasses.replace(relay, clock=stopped_at(now_ms)))
        if day % VACUUM_EACH == 0:
            await on(url, "VACUUM (ANALYZE)")
    return number


async def measure(scale: int) -> list[Row]:
    """On a server of the simulation's own."""
    with postgres_server() as server:
        await execute(server, "CREATE DATABASE relay_simulation")
        url = f"{server}/relay_simulation"
        try:
            aside(upgrade, url)
            settings = Settings(
                _env_file=None,
                soniox_api_key="key-of-the-simulation",
                soniox_api_webhook_secret=f"simulation-{new_id('key', START_MS)}",
                database_url=url,
                relay_retention_days=RETENTION_DAYS,
            )
            empty = await on(url, "SELECT pg_database_size(current_database())")
            async with open_relay(settings) as relay:
                number = await live_a_year(relay, url, scale)
            return await compare(url, number, empty, scale)
        finally:
            await execute(server, "DROP DATABASE relay_simulation WITH (FORCE)")


async def compare(url: str, number: int, empty: int, scale: int) -> list[Row]:
    """What is there beside what should be."""
    kept = await on(url, "SELECT count(*) FROM transcriptions")
    size = await on(url, "SELECT pg_database_size(current_database())") - empty
    expected_kept = number * RETENTION_DAYS / 365
    expected = kept * KEPT_BYTES * SLACK + (number - kept) * LEFT_BYTES
    terabytes = size * scale / 1e12
    return [
        Row(
            "a year simulated: jobs kept against retention / 365", kept / expected_kept, limit=1.1, at_least=False
        ),
        Row("a year simulated: size against the arithmetic", size / expected, limit=1.25, at_least=False),
        Row(f"a year simulated: PostgreSQL at its end, {RETENTION_DAYS} days kept", terabytes, "TB"),
    ]


async def on(url: str, statement: str) -> int:
    """Run one statement outside a transaction; its value, 0 when it has none."""
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval(statement) or 0)
    finally:
        await connection.close()


def rows(scale: int = SCALE) -> list[Row]:
    """The arithmetic of docs/scaling.md, checked."""
    return asyncio.run(measure(scale))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=int, default=SCALE)
    show(rows(parser.parse_args().scale))
