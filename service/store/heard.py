"""Claimed rows of the inbox with what they are about, read at once rather than one by one."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import BindParameter, bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.rows import as_models
from service.tables import Transcription, Webhook, table_of

jobs = table_of(Transcription)

_IDS: BindParameter[str] = bindparam("ids", expanding=True)
_NAMED = select(jobs).where(jobs.c.id.in_(_IDS))
_KNOWN_AT_SONIOX = select(jobs).where(jobs.c.soniox_id.in_(_IDS))


class Heard(NamedTuple):
    """A row of the inbox and the transcription as it was then; None when the relay has no such one."""

    row: Webhook
    job: Transcription | None

    @property
    def id(self) -> str:
        return self.row.id

    @property
    def fence(self) -> int:
        return self.row.fence

    @property
    def tries(self) -> int:
        return self.row.tries


async def with_jobs(connection: AsyncConnection, rows: Sequence[Webhook]) -> list[Heard]:
    """By the job that a row names; where it names none, by the id at Soniox."""
    named = {row.job for row in rows if row.job}
    others = {row.soniox_id for row in rows if not row.job}
    by_id, by_soniox_id = {}, {}
    if named:
        found = await connection.execute(_NAMED, {"ids": list(named)})
        by_id = {job.id: job for job in as_models(Transcription, found)}
    if others:
        found = await connection.execute(_KNOWN_AT_SONIOX, {"ids": list(others)})
        by_soniox_id = {job.soniox_id: job for job in as_models(Transcription, found)}
    return [Heard(row, by_id.get(row.job) if row.job else by_soniox_id.get(row.soniox_id)) for row in rows]
