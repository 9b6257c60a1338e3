"""Purge: finished transcriptions go when RELAY_RETENTION_DAYS have passed; of deleted ones no word stays behind.

What a purge removes is what DELETE removes, with the same receipt, so an audit finds both in the same place.
A transcription whose event has not reached every receiver yet is kept until it has, or until its tries are spent.
"""

import asyncio
from functools import partial

import structlog

from service.clock import DAY_MS
from service.discard import discard
from service.relay import Relay
from service.store import files, search, transcription_queries
from service.tables import Transcription

log = structlog.get_logger(__name__)

LONGEST_UPLOAD_MS = DAY_MS
BATCH = 20  # transcriptions deleted together; others want to write as well


async def purge_once(relay: Relay) -> int:
    """Delete all that is older than the setting says; gives back how many transcriptions that were."""
    days = relay.settings.relay_retention_days
    if not days:
        return 0
    before_ms = relay.clock() - days * DAY_MS
    purged = 0
    while expired := await _expired(relay, before_ms):
        purged += sum(await asyncio.gather(*(discard(relay, job, "retention") for job in expired)))
    if purged:
        log.info("purged", transcriptions=purged, retention_days=days)
    return purged


async def remove_cut_off_uploads(relay: Relay) -> None:
    """What processes that died in the middle of an upload have left."""
    before_ms = relay.clock() - LONGEST_UPLOAD_MS
    await relay.db.write(partial(files.remove_unfinished, before_ms=before_ms))


async def scrub(relay: Relay) -> None:
    """Rewrite what SQLite keeps of deleted text: parts of the search index, and the write-ahead log.

    Done piece by piece, so that other writes get their turn. PostgreSQL's VACUUM does this by itself.
    """
    if not relay.db.is_sqlite:
        return
    finished = await relay.db.write(partial(search.scrub, first=True))
    while not finished:
        finished = await relay.db.write(partial(search.scrub, first=False))
    await asyncio.to_thread(transcription_queries.truncate_wal, relay.settings.database_file)


async def _expired(relay: Relay, before_ms: int) -> list[Transcription]:
    return await relay.db.read(lambda session: transcription_queries.expired(session, before_ms, BATCH))
