"""A database that has worked for a year: finished jobs, with webhooks, events and deliveries, made by SQL."""

import asyncio
import sqlite3
import time
from contextlib import closing
from string import Template

import asyncpg

ENDPOINTS = 10
YEAR_MS = 365 * 86_400_000
FAILED_EACH = 200  # one job of so many failed, and one delivery of so many was never taken

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
                            soniox_status, client_reference_id)
SELECT $i, 'bench', CASE WHEN i % $failed = 0 THEN 'failed' ELSE 'completed' END, $moment, $moment + 300,
       $moment + 9000, '{"model": "stt-async-v5", "audio_url": "https://example.com/calls/recording.wav"}',
       'recording.wav', 1, $no, $no, '[]', 'stt-async-v5', 3, 0, 's' || $i, 'completed', 'r' || $i
  FROM $numbers
""",
    "webhooks": """
INSERT INTO webhooks (id, job, soniox_id, status, source, received_at_ms, last_seen_at_ms, seen, handled_at_ms,
                      outcome, fence, tries)
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


async def fill(url: str, jobs: int, deliveries: int, now_ms: int) -> float:
    """Insert so many finished jobs and deliveries, spread over the year before `now_ms`; seconds it took.

    The database is migrated and nobody uses it yet: indexes are dropped and built again, which is quicker.
    """
    started = time.perf_counter()
    if url.startswith("sqlite"):
        await asyncio.to_thread(_fill_sqlite, url.partition("///")[2], jobs, deliveries, now_ms)
    else:
        await _fill_postgresql(url, jobs, deliveries, now_ms)
    return time.perf_counter() - started


def _fill_sqlite(path: str, jobs: int, deliveries: int, now_ms: int) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-1000000", "temp_store=MEMORY"):
            connection.execute(f"PRAGMA {pragma}")
        for table in FILLING:
            query = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL"
            indexes = connection.execute(query, (table,)).fetchall()
            for name, _ in indexes:
                connection.execute(f"DROP INDEX {name}")
            connection.execute(_statement(table, SQLITE, jobs, deliveries, now_ms))
            for _, again in indexes:
                connection.execute(again)
        connection.execute("ANALYZE")
        connection.execute("PRAGMA journal_mode=WAL")


async def _fill_postgresql(url: str, jobs: int, deliveries: int, now_ms: int) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SET maintenance_work_mem = '512MB'; SET synchronous_commit = off")
        for table in FILLING:
            query = "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = $1 AND indexname <> $2"
            indexes = await connection.fetch(query, table, f"{table}_pkey")
            for name, _ in indexes:
                await connection.execute(f"DROP INDEX {name}")
            await connection.execute(_statement(table, POSTGRESQL, jobs, deliveries, now_ms))
            for _, again in indexes:
                await connection.execute(again)
        await connection.execute("VACUUM (ANALYZE)")
    finally:
        await connection.close()


def _statement(table: str, words: dict[str, str], jobs: int, deliveries: int, now_ms: int) -> str:
    number = deliveries if table == "deliveries" else jobs
    return Template(FILLING[table]).substitute(
        i=words["padded"].format("i"),
        of=words["padded"].format(f"((i - 1) / {max(1, deliveries // jobs)} + 1)"),
        moment=f"({now_ms - YEAR_MS} + CAST(i AS BIGINT) * {YEAR_MS} / {number})",
        numbers=Template(words["numbers"]).substitute(number=number),
        no=words["no"],
        body=words["body"],
        failed=FAILED_EACH,
        endpoints=ENDPOINTS,
    )
