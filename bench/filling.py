"""A database that has worked for a year: finished jobs, with webhooks, events and deliveries, made by SQL."""

import asyncio
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from string import Template

import asyncpg

ENDPOINTS = 10
YEAR_MS = 365 * 86_400_000
FAILED_EACH = 200  # one job of so many failed, and one delivery of so many was never taken
FOUND_EACH = 50  # one result of so many was found by the reconciler

# The text of a number is as long as a real id and in the order of time, as those are.
SQLITE = {
    "numbers": """(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $number)
                  SELECT i FROM n)""",
    "padded": "printf('%036d', {})",
    "no": "0",
    "body": "x'7b7d'",
}
POSTGRESQL = {
    "numbers": "generate_series(1, $number) AS n(i)",
    "padded": "lpad(CAST({} AS text), 36, '0')",
    "no": "false",
    "body": r"'\x7b7d'",
}
FILLING = {
    "transcriptions": """
INSERT INTO transcriptions (id, owner, stage, created_at_ms, submitted_at_ms, finished_at_ms, request, filename,
                            attempt, adopted, unsettled, past_soniox_ids, model, fence, tries, soniox_id,
                            soniox_status, client_reference_id, learned_from)
SELECT $i, 'bench', CASE WHEN i % $failed = 0 THEN 'failed' ELSE 'completed' END, $moment, $moment + 300,
       $moment + 9000, '{"model": "stt-async-v5", "audio_url": "https://example.com/calls/recording.wav"}',
       'recording.wav', 1, $no, $no, '[]', 'stt-async-v5', 3, 0, 's' || $i, 'completed', 'r' || $i,
       CASE WHEN i % $found = 0 THEN 'reconciler' ELSE 'webhook' END
  FROM $numbers
""",
    "webhooks": """
INSERT INTO webhooks (id, transcription_id, soniox_id, status, source, received_at_ms, last_seen_at_ms,
                      receive_count, handled_at_ms, outcome, fence, tries)
SELECT 'w' || $i, $i, 's' || $i, 'completed', 'webhook', $moment + 8000, $moment + 8000, 1, $moment + 9000,
       'stored', 1, 0
  FROM $numbers
""",
    "events": """
INSERT INTO events (seq, xact, id, type, owner, transcription_id, created_at_ms, body)
SELECT i, 0, 'e' || $i, 'transcription.completed', 'bench', $i, $moment + 9000, $body FROM $numbers
""",
    "deliveries": """
INSERT INTO deliveries (id, event_id, owner, transcription_id, endpoint_id, receiver, status, created_at_ms,
                        delivered_at_ms, fence, tries)
SELECT 'd' || $i, 'e' || $of, 'bench', $of, 'endpoint-' || (i % $endpoints), 'endpoint-' || (i % $endpoints),
       CASE WHEN i % $failed = 0 THEN 'exhausted' ELSE 'delivered' END, $moment + 9000, $moment + 9050, 1, 1
  FROM $numbers
""",
}


@dataclass(frozen=True)
class Span:
    """How much is put in, and over which time it is spread."""

    jobs: int
    deliveries: int
    now_ms: int
    over_ms: int


async def fill(url: str, jobs: int, deliveries: int, now_ms: int, over_ms: int = YEAR_MS) -> float:
    """Insert so many finished jobs and deliveries, spread over `over_ms` before `now_ms`; seconds it took.

    The database is migrated and nobody uses it yet: indexes are dropped and built again, which is quicker.
    """
    started = time.perf_counter()
    if url.startswith("sqlite"):
        await asyncio.to_thread(_fill_sqlite, url.partition("///")[2], Span(jobs, deliveries, now_ms, over_ms))
    else:
        await _fill_postgresql(url, Span(jobs, deliveries, now_ms, over_ms))
    return time.perf_counter() - started


def _fill_sqlite(path: str, span: Span) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-1000000", "temp_store=MEMORY"):
            connection.execute(f"PRAGMA {pragma}")
        for table in FILLING:
            query = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL"
            indexes = connection.execute(query, (table,)).fetchall()
            for name, _ in indexes:
                connection.execute(f"DROP INDEX {name}")
            connection.execute(_statement(table, SQLITE, span))
            for _, again in indexes:
                connection.execute(again)
        connection.execute("PRAGMA journal_mode=WAL")  # no ANALYZE: nobody runs it in service either


async def _fill_postgresql(url: str, span: Span) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SET maintenance_work_mem = '512MB'; SET synchronous_commit = off")
        for table in FILLING:
            query = "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = $1 AND indexname <> $2"
            indexes = await connection.fetch(query, table, f"{table}_pkey")
            for name, _ in indexes:
                await connection.execute(f"DROP INDEX {name}")
            await connection.execute(_statement(table, POSTGRESQL, span))
            for _, again in indexes:
                await connection.execute(again)
        await connection.execute("VACUUM (ANALYZE)")
    finally:
        await connection.close()


def _statement(table: str, words: dict[str, str], span: Span) -> str:
    number = span.deliveries if table == "deliveries" else span.jobs
    first_ms = span.now_ms - span.over_ms
    return Template(FILLING[table]).substitute(
        i=words["padded"].format("i"),
        of=words["padded"].format(f"((i - 1) / {max(1, span.deliveries // span.jobs)} + 1)"),
        moment=f"({first_ms} + CAST(i AS BIGINT) * {span.over_ms} / {number})",
        numbers=Template(words["numbers"]).substitute(number=number),
        no=words["no"],
        body=words["body"],
        failed=FAILED_EACH,
        found=FOUND_EACH,
        endpoints=ENDPOINTS,
    )
