"""What the relay holds at Soniox, counted from its own rows, and the claim that stays within the quotas."""

from dataclasses import dataclass

from sqlalchemy import and_, case, func, or_, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from service.lifecycle import Stage
from service.store.claims import Claimant, claim
from service.tables import IS_OPEN, Removal, Transcription, table_of

jobs = table_of(Transcription)
removals = table_of(Removal)

SHOWS_AFTER_MS = 2_000  # what a worker sent before it died is in Soniox's listing by then
LOCK = 7_203_002  # an arbitrary number that names this lock in PostgreSQL


@dataclass(frozen=True)
class Quotas:
    """Most of each kind at Soniox at once."""

    pending: int
    transcriptions: int
    files: int


@dataclass(frozen=True)
class Held:
    """How many of each kind lie at Soniox now, or may."""

    pending: int
    transcriptions: int
    files: int


async def held(connection: AsyncConnection) -> Held:
    """Count; a job whose create is under way counts as there."""
    at_soniox = and_(text(IS_OPEN), jobs.c.stage != Stage.ACCEPTED)
    waits = and_(at_soniox, or_(jobs.c.soniox_status.is_(None), jobs.c.soniox_status == "queued"))
    has_file = and_(at_soniox, or_(jobs.c.soniox_file_id.is_not(None), jobs.c.file_id.is_not(None)))
    open_jobs = select(
        func.count().filter(waits).label("pending"),
        func.count().label("transcriptions"),
        func.count().filter(has_file).label("files"),
    ).where(at_soniox)
    leaving = select(
        func.count().filter(or_(removals.c.soniox_id.is_not(None), removals.c.unsettled)).label("transcriptions"),
        func.count().filter(or_(removals.c.soniox_file_id.is_not(None), removals.c.unsettled)).label("files"),
    )
    here = (await connection.execute(open_jobs)).one()
    gone_soon = (await connection.execute(leaving)).one()
    return Held(here.pending, here.transcriptions + gone_soon.transcriptions, here.files + gone_soon.files)


async def claim_submissions(
    connection: AsyncConnection, quotas: Quotas, claimant: Claimant, limit: int
) -> list[Transcription]:
    """Move b: first those whose outcome must be settled, then new ones as far as there is room at Soniox."""
    if connection.dialect.name == "postgresql":
        await connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
    had_time = or_(jobs.c.lease_until_ms.is_(None), jobs.c.lease_until_ms <= claimant.now_ms - SHOWS_AFTER_MS)
    uncertain = and_(jobs.c.stage == Stage.SUBMITTING, had_time)
    # A lease that ended unfinished: what its holder did may show only in a listing made after that.
    since_ms = case((jobs.c.lease_until_ms.is_not(None), jobs.c.lease_until_ms), else_=jobs.c.due_at_ms)
    doubted = {"unsettled": True, "due_at_ms": since_ms}
    again = await claim(connection, Transcription, claimant, limit=limit, where=uncertain, also=doubted)
    now = await held(connection)
    room = min(quotas.pending - now.pending, quotas.transcriptions - now.transcriptions, limit - len(again))
    room_for_files = quotas.files - now.files
    new = jobs.c.stage == Stage.ACCEPTED
    if room_for_files > 0:
        room = min(room, room_for_files)
    else:
        new = and_(new, jobs.c.file_id.is_(None))
    if room <= 0:
        return again
    begun = {"stage": Stage.SUBMITTING}
    return again + await claim(connection, Transcription, claimant, limit=room, where=new, also=begun)
