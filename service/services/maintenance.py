"""Maintenance: retention, re-encryption with a new master secret, and the move to another database."""

import asyncio
from functools import partial
from typing import Any

import structlog
from sqlalchemy import Connection, Table
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import Session

from service.clock import DAY_MS
from service.crypto import SecretBox
from service.db.engines import engine_url, sqlite_engine
from service.db.schema import HEAD, current_revision
from service.errors import ConfigurationError
from service.relay import Relay
from service.services.transcriptions import delete_transcription
from service.store import files, keys, search, transcription_queries, transfer
from service.tables import Transcription

log = structlog.get_logger(__name__)

MAX_UPLOAD_MS = DAY_MS
BATCH = 20  # transcriptions deleted together; small, so that other writes are not delayed


async def purge_expired(relay: Relay) -> int:
    """Delete finished transcriptions older than RELAY_RETENTION_DAYS. Returns how many."""
    days = relay.settings.relay_retention_days
    if not days:
        return 0
    before_ms = relay.clock() - days * DAY_MS
    purged = 0
    while expired := await _expired(relay, before_ms):
        purged += sum(await asyncio.gather(*(delete_transcription(relay, job, "retention") for job in expired)))
    if purged:
        log.info("purged", transcriptions=purged, retention_days=days)
    return purged


async def remove_incomplete_uploads(relay: Relay) -> None:
    """Remove incomplete uploads older than MAX_UPLOAD_MS, which crashed processes left."""
    before_ms = relay.clock() - MAX_UPLOAD_MS
    await relay.db.write(partial(files.remove_unfinished, before_ms=before_ms))


async def erase_deleted(relay: Relay) -> None:
    """Erase deleted text that SQLite still has in the search index and in the write-ahead log.

    The index is rewritten in small steps, so that other writes are not delayed. PostgreSQL's VACUUM does this.
    """
    if not relay.db.is_sqlite:
        return
    finished = await relay.db.write(partial(search.scrub, first=True))
    while not finished:
        finished = await relay.db.write(partial(search.scrub, first=False))
    await asyncio.to_thread(transcription_queries.truncate_wal, relay.settings.database_file)


async def _expired(relay: Relay, before_ms: int) -> list[Transcription]:
    return await relay.db.read(lambda session: transcription_queries.expired(session, before_ms, BATCH))


PAGE = 100  # rows of one write: decrypting them must not block the event loop


async def reencrypt(relay: Relay) -> int:
    """Re-encrypt all secrets with the current master secret. Returns how many rows were changed."""
    if len(relay.secret_box.master_secrets) < 2:
        return 0
    changed = sum([await _reencrypt_page(relay, table) for table in keys.ENCRYPTED])
    log.info("reencrypted", rows=changed)
    return changed


async def _reencrypt_page(relay: Relay, table: Table) -> int:
    last, changed = "", 0

    def turn(session: Session) -> tuple[str, int]:
        rows = keys.encrypted_page(session, table, last, PAGE)
        renewed = {row["id"]: values for row in rows if (values := _reencrypted(relay.secret_box, row))}
        for row_id, values in renewed.items():
            keys.update_encrypted(session, table, row_id, values)
        return (rows[-1]["id"] if rows else ""), len(renewed)

    while True:
        last, number = await relay.db.write(turn)
        changed += number
        if not last:
            return changed


def _reencrypted(secret_box: SecretBox, row: dict[str, Any]) -> dict[str, Any]:
    """Return the columns that change."""
    values: dict[str, Any] = {}
    for name, value in row.items():
        if name == "previous_secrets":
            past = [{**one, "sealed": secret_box.reencrypt(one["sealed"]) or one["sealed"]} for one in value or ()]
            values |= {name: past} if past != (value or []) else {}
        elif name != "id" and value and (renewed := secret_box.reencrypt(value)):
            values[name] = renewed
    return values


async def move_data(source_url: str, target_url: str) -> dict[str, int]:
    """Copy all rows from a SQLite database to another database. Returns the rows of each table.

    No relay may run on the source; it is not changed. Raises ConfigurationError if a schema is not this
    release's, if the target has rows, or if another process writes to the target.
    """
    source_engine, target_engine = sqlite_engine(source_url, 1), create_async_engine(engine_url(target_url))
    try:
        with source_engine.begin() as source:
            source.exec_driver_sql("BEGIN")  # one consistent snapshot
            async with target_engine.begin() as target:
                return await target.run_sync(lambda connection: _copy_data(source, connection))
    finally:
        source_engine.dispose()
        await target_engine.dispose()


def _copy_data(source: Connection, target: Connection) -> dict[str, int]:
    for name, connection in (("--from", source), ("--to", target)):
        _require_schema(name, connection)
    transfer.keep_others_out(target)
    if taken := [name for name, rows in transfer.count_all(target).items() if rows]:
        raise ConfigurationError(f"--to: the database is not empty, it has rows in {', '.join(taken)}")
    transfer.copy_all(source, target)
    there, here = transfer.count_all(source), transfer.count_all(target)
    if there != here:
        raise ConfigurationError("--to: something else writes to that database")
    return here


def _require_schema(name: str, connection: Connection) -> None:
    current = current_revision(connection)
    if current != HEAD:
        raise ConfigurationError(
            f"{name}: the schema is at {current or 'nothing'}, needed is {HEAD}; "
            "run `soniox-relay migrate --post-deploy` with it as DATABASE_URL"
        )
