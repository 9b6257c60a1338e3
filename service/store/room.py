"""What the relay holds at Soniox, counted from its own rows, and the claim that stays within the quotas."""

from dataclasses import dataclass

from sqlalchemy import and_, bindparam, case, func, or_, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from service.lifecycle import Stage
from service.store.claims import Claimant, claim, is_any_due, taking
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


_AT_SONIOX = and_(text(IS_OPEN), jobs.c.stage != Stage.ACCEPTED)
_WAITS = and_(_AT_SONIOX, or_(jobs.c.soniox_status.is_(None), jobs.c.soniox_status == "queued"))
_HAS_FILE = and_(_AT_SONIOX, or_(jobs.c.soniox_file_id.is_not(None), jobs.c.file_id.is_not(None)))
_OPEN_JOBS = select(
    func.count().filter(_WAITS).label("pending"),
    func.count().label("transcriptions"),
    func.count().filter(_HAS_FILE).label("files"),
).where(_AT_SONIOX)
_LEAVING = select(
    func.count().filter(or_(removals.c.soniox_id.is_not(None), removals.c.unsettled)).label("transcriptions"),
    func.count().filter(or_(removals.c.soniox_file_id.is_not(None), removals.c.unsettled)).label("files"),
)

_HAD_TIME = or_(jobs.c.lease_until_ms.is_(None), jobs.c.lease_until_ms <= bindparam("shows_before_ms"))
# A lease that ended unfinished: what its holder did may show only in a listing made after that.
_SINCE_MS = case((jobs.c.lease_until_ms.is_not(None), jobs.c.lease_until_ms), else_=jobs.c.due_at_ms)
_AGAIN = taking(
    Transcription,
    where=and_(jobs.c.stage == Stage.SUBMITTING, _HAD_TIME),
    also={"unsettled": True, "due_at_ms": _SINCE_MS},
)
_IS_NEW = jobs.c.stage == Stage.ACCEPTED
_NEW = taking(Transcription, where=_IS_NEW, also={"stage": Stage.SUBMITTING})
_NEW_WITHOUT_FILE = taking(
    Transcription, where=and_(_IS_NEW, jobs.c.file_id.is_(None)), also={"stage": Stage.SUBMITTING}
)


async def held(connection: AsyncConnection) -> Held:
    """Count; a job whose create is under way counts as there."""
    here = (await connection.execute(_OPEN_JOBS)).one()
    gone_soon = (await connection.execute(_LEAVING)).one()
    return Held(here.pending, here.transcriptions + gone_soon.transcriptions, here.files + gone_soon.files)


async def claim_submissions(
    connection: AsyncConnection, quotas: Quotas, claimant: Claimant, limit: int
) -> list[Transcription]:
    """Move b: first those whose outcome must be settled, then new ones as far as there is room at Soniox."""
    if not await is_any_due(connection, Transcription, claimant.now_ms):
        return []  # the lane is rung whenever room may have been made; mostly nothing waits for it
    if connection.dialect.name == "postgresql":
        await connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
    before_ms = claimant.now_ms - SHOWS_AFTER_MS
    again = await claim(
        connection, Transcription, claimant, limit=limit, statement=_AGAIN, shows_before_ms=before_ms
    )
    now = await held(connection)
    room = min(quotas.pending - now.pending, quotas.transcriptions - now.transcriptions, limit - len(again))
    room_for_files = quotas.files - now.files
    if room_for_files > 0:
        room = min(room, room_for_files)
    if room <= 0:
        return again
    new = _NEW if room_for_files > 0 else _NEW_WITHOUT_FILE
    return again + await claim(connection, Transcription, claimant, limit=room, statement=new)
