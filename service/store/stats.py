"""The figures behind metrics and dashboards, counted over what is open, never over what is finished."""

from dataclasses import dataclass

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import SQLModel

from service.lifecycle import OPEN_STAGES
from service.store.room import Held, held
from service.tables import IS_OPEN, Delivery, Removal, Transcription, Webhook, table_of

jobs = table_of(Transcription)
QUEUES: dict[str, type[SQLModel]] = {"collect": Webhook, "notify": Delivery, "cleanup": Removal}


@dataclass(frozen=True)
class Gauges:
    """How many stand where, now."""

    stages: dict[str, int]
    waiting: dict[str, int]
    held: Held


async def gauges(connection: AsyncConnection) -> Gauges:
    """Count."""
    by_stage = select(jobs.c.stage, func.count()).where(text(IS_OPEN)).group_by(jobs.c.stage)
    found = {row[0]: int(row[1]) for row in (await connection.execute(by_stage)).all()}
    stages = {str(stage): found.get(stage, 0) for stage in OPEN_STAGES}
    waiting = {}
    for lane, model in QUEUES.items():
        query = select(func.count()).where(table_of(model).c.due_at_ms.is_not(None))
        waiting[lane] = int((await connection.execute(query)).scalar_one())
    return Gauges(stages, waiting, await held(connection))
