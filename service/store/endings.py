"""How transcriptions end: moves e, f and g, for all that end in the same transaction."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from sqlalchemy import TextualSelect, text
from sqlalchemy.ext.asyncio import AsyncConnection

from service.lifecycle import Stage, sources_of
from service.store.changes import as_json, given
from service.store.claims import DONE_SQL
from service.store.rows import as_models
from service.tables import Transcription, table_of
from service.tables.base import one_of

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


_COLUMNS = tuple(
    (name, "bigint" if kind in {int, int | None} else "text") for name, kind in Ending.__annotations__.items()
)
_KEPT = Ending._fields[5:]  # what is None there stays as it is known
_FROM = " OR ".join(
    f"said.stage = '{stage}' AND {one_of('transcriptions.stage', sources_of(stage))}"
    for stage in (Stage.COMPLETED, Stage.FAILED)
)
# PostgreSQL locks in the order of the ids, so that two processes never wait for each other in a circle. A raised
# fence tells whoever still works on the row that he has lost his claim.
_FINISH = f"""
    WITH said AS ({{given}}) {{locked}}
    UPDATE transcriptions SET
        stage = said.stage, finished_at_ms = said.finished_at_ms, learned_from = said.learned_from,
        {", ".join(f"{name} = COALESCE(said.{name}, transcriptions.{name})" for name in _KEPT)},
        {DONE_SQL}, check_at_ms = NULL, unsettled = false, fence = transcriptions.fence + 1
      FROM said {{lock}}
     WHERE transcriptions.id = said.transcription_id AND transcriptions.attempt = said.attempt AND ({_FROM})
    RETURNING {", ".join(f"transcriptions.{column.name}" for column in jobs.c)}
"""  # noqa: S608  # names of ours
_LOCKED = """, locked AS MATERIALIZED (
        SELECT id FROM transcriptions WHERE id IN (SELECT transcription_id FROM said) ORDER BY id FOR UPDATE
    )"""


@cache
def _finishing(dialect: str) -> TextualSelect:
    locked, lock = (
        ("", "") if dialect == "sqlite" else (_LOCKED, "JOIN locked ON locked.id = said.transcription_id")
    )
    return text(_FINISH.format(given=given(dialect, _COLUMNS, "rows"), locked=locked, lock=lock)).columns(*jobs.c)


async def mark_finished(connection: AsyncConnection, endings: Sequence[Ending]) -> list[Transcription | None]:
    """Each row as it is afterwards, or None when that attempt was finished already or is gone."""
    first: dict[tuple[str, int], int] = {}
    for place, ending in enumerate(endings):
        first.setdefault((ending.transcription_id, ending.attempt), place)
    rows = as_json([endings[place] for place in first.values()])
    result = await connection.execute(_finishing(connection.dialect.name), {"rows": rows})
    finished = {first[row.id, row.attempt]: row for row in as_models(Transcription, result)}
    return [finished.get(place) for place in range(len(endings))]
