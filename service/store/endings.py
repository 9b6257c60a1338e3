"""How transcriptions end: moves e, f and g, for all that end in the same transaction."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import BindParameter, bindparam, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.lifecycle import Stage, sources_of
from service.store.claims import DONE
from service.store.rows import as_models
from service.tables import Transcription, table_of

jobs = table_of(Transcription)


class Ending(NamedTuple):
    """The end of one attempt. What is None here stays as it is known."""

    transcription_id: str
    attempt: int
    stage: Stage
    finished_at_ms: int
    learned_from: str
    soniox_id: str | None = None
    soniox_status: str | None = None
    audio_duration_ms: int | None = None
    webhook_status_code: int | None = None
    model: str | None = None
    error_type: str | None = None
    error_message: str | None = None


_IDS: BindParameter[str] = bindparam("ids", expanding=True)
# In the order of their ids, so that two processes never wait for each other in a circle.
_STAND = select(jobs.c.id, jobs.c.attempt, jobs.c.stage)
_LOCK = _STAND.where(jobs.c.id.in_(_IDS)).order_by(jobs.c.id).with_for_update()
_READ = select(jobs).where(jobs.c.id.in_(_IDS))
_SET = ("stage", "finished_at_ms", "learned_from")
_KEPT = tuple(name for name in Ending._fields[2:] if name not in _SET)
_FINISH = (
    update(jobs)
    .where(jobs.c.id == bindparam("of_id"))
    .values(
        {
            **DONE,
            **{name: bindparam(f"to_{name}") for name in _SET},
            **{
                name: func.coalesce(bindparam(f"to_{name}", type_=jobs.c[name].type), jobs.c[name])
                for name in _KEPT
            },
            "check_at_ms": None,
            "unsettled": False,
            "fence": jobs.c.fence + 1,  # whoever still works on it has lost its claim
        }
    )
)


async def mark_finished(connection: AsyncConnection, endings: Sequence[Ending]) -> list[Transcription | None]:
    """Each row as it is afterwards, or None when that attempt was finished already or is gone."""
    effective = await _effective(connection, endings)
    if not effective:
        return [None] * len(endings)
    await connection.execute(_FINISH, [_parameters(ending) for ending in effective.values()])
    ids = [ending.transcription_id for ending in effective.values()]
    finished = as_models(Transcription, await connection.execute(_READ, {"ids": ids}))
    rows = {row.id: row for row in finished}
    return [rows[ending.transcription_id] if place in effective else None for place, ending in enumerate(endings)]


async def _effective(connection: AsyncConnection, endings: Sequence[Ending]) -> dict[int, Ending]:
    """The first one for each attempt that is still open, by its place."""
    ids = sorted({ending.transcription_id for ending in endings})
    open_ones = {row.id: row for row in (await connection.execute(_LOCK, {"ids": ids})).all()}
    effective = {}
    for place, ending in enumerate(endings):
        job = open_ones.get(ending.transcription_id)
        if job and job.attempt == ending.attempt and job.stage in sources_of(ending.stage):
            effective[place] = ending
            del open_ones[ending.transcription_id]
    return effective


def _parameters(ending: Ending) -> dict[str, Any]:
    values = ending._asdict()
    of_id = values.pop("transcription_id")
    del values["attempt"]
    return {"of_id": of_id, **{f"to_{name}": value for name, value in values.items()}}
