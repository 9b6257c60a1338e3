"""The reconciler's own record, and what it looks for in our tables."""

from sqlalchemy import delete, func, or_, select, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import SQLModel

from service.clock import MINUTE_MS
from service.lifecycle import Stage
from service.store.changes import insert_all
from service.store.rows import as_models
from service.tables import IS_OPEN, Delivery, Removal, Sweep, Transcription, Webhook, table_of

sweeps = table_of(Sweep)
jobs = table_of(Transcription)
removals = table_of(Removal)

KEPT = 1_000
STALLED_AFTER_MS = 5 * MINUTE_MS  # what has been due for so long stands still
QUEUES: dict[str, type[SQLModel]] = {
    "submit": Transcription,
    "collect": Webhook,
    "notify": Delivery,
    "cleanup": Removal,
}


async def add(connection: AsyncConnection, sweep: Sweep) -> None:
    """Write one run down, and forget very old ones."""
    await insert_all(connection, [sweep])
    kept = select(sweeps.c.started_at_ms).order_by(sweeps.c.started_at_ms.desc()).offset(KEPT).limit(1)
    oldest = (await connection.execute(kept)).scalar_one_or_none()
    if oldest is not None:
        await connection.execute(delete(sweeps).where(sweeps.c.started_at_ms <= oldest))


async def latest(connection: AsyncConnection, limit: int) -> list[Sweep]:
    """The newest runs first."""
    query = select(sweeps).order_by(sweeps.c.started_at_ms.desc()).limit(limit)
    return as_models(Sweep, await connection.execute(query))


async def is_waiting_for_room(connection: AsyncConnection, now_ms: int) -> bool:
    """True when a new transcription is due and has not been claimed."""
    query = select(jobs.c.id).where(jobs.c.stage == Stage.ACCEPTED, jobs.c.due_at_ms <= now_ms).limit(1)
    return (await connection.execute(query)).first() is not None


async def stalled(connection: AsyncConnection, now_ms: int, before_ms: int) -> dict[str, int]:
    """Rows by lane that are long due and that nobody works on."""
    counts = {}
    for lane, model in QUEUES.items():
        table = table_of(model)
        free = or_(table.c.lease_until_ms.is_(None), table.c.lease_until_ms <= now_ms)
        query = select(func.count()).select_from(table).where(table.c.due_at_ms <= before_ms, free)
        counts[lane] = int((await connection.execute(query)).scalar_one())
    return counts


async def leaving(connection: AsyncConnection) -> tuple[set[str], set[str]]:
    """Ids of transcriptions and of files at Soniox whose removal is ordered already."""
    rows = (await connection.execute(select(removals.c.soniox_id, removals.c.soniox_file_id))).all()
    return {row[0] for row in rows if row[0]}, {row[1] for row in rows if row[1]}


async def files_in_use(connection: AsyncConnection, ids: list[str]) -> set[str]:
    """Those files at Soniox that an open transcription needs."""
    query = select(jobs.c.soniox_file_id).where(text(IS_OPEN), jobs.c.soniox_file_id.is_not(None))
    used = {row[0] for row in (await connection.execute(query)).all()}
    return used & set(ids)
