"""Cleanup: deletes at Soniox what is no longer needed, the transcription first, then its file.

404 counts as deleted; 409 (still processing) is retried later. A file is not needed once its transcription is
deleted. Objects that may exist under an unknown id are looked up in the listings first.
"""

from functools import partial

import structlog
from sqlmodel import Session

from service.errors import SonioxError
from service.lifecycle import backoff_ms
from service.relay import Relay
from service.soniox.models import job_of_reference
from service.store import claims, reconciler
from service.tables import Removal

log = structlog.get_logger(__name__)

LONGEST_WAIT_MS = 60_000


async def cleanup(relay: Relay, row: Removal) -> None:
    """Run one claimed removal: complete it, or postpone it to its next try."""
    try:
        transcription_ids, file_ids = await _targets(relay, row)
        for soniox_id in transcription_ids:
            await relay.soniox.delete_transcription(soniox_id)
        for file_id in file_ids:
            await relay.soniox.delete_file(file_id)
    except SonioxError as error:
        await _again(relay, row, error)
    else:
        # The removal makes room for waiting jobs.
        await relay.db.write(partial(reconciler.delete_removals, row=row), wake=("submit",))


async def _targets(relay: Relay, row: Removal) -> tuple[set[str], set[str]]:
    transcription_ids = {row.soniox_id} if row.soniox_id else set()
    file_ids = {row.soniox_file_id} if row.soniox_file_id else set()
    if row.unsettled:
        since_ms = row.due_at_ms or 0
        listed = await relay.listing.transcriptions(since_ms=since_ms)
        transcription_ids |= {remote.id for remote in listed.get(row.transcription_id, ())}
        files = await relay.listing.files(since_ms=since_ms)
        file_ids |= {file_id for mark, file_id in files.items() if job_of_reference(mark) == row.transcription_id}
    return transcription_ids, file_ids


async def _again(relay: Relay, row: Removal, error: SonioxError) -> None:
    wait_ms = backoff_ms(row.tries, longest_ms=LONGEST_WAIT_MS, rng=relay.rng)

    def postpone(session: Session) -> None:
        claims.postpone(session, Removal, row, due_at_ms=relay.clock() + wait_ms, error=error.message)

    log.info("removal_postponed", job_id=row.transcription_id, reason=error.message, http_status=error.status_code)
    await relay.db.write(postpone)
