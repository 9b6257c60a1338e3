"""Claimed rows of the inbox with what they are about, read at once rather than one by one."""

from collections import namedtuple
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from sqlalchemy import BindParameter, bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store import claims
from service.store.claims import Claimant
from service.store.rows import as_models
from service.tables import Transcription, Webhook, table_of

jobs = table_of(Transcription)

_OWN, _ITS = table_of(Webhook).columns.keys(), jobs.columns.keys()
# What as_models gives, for rows of a join.
_WEBHOOK, _JOB = cast("type[Any]", namedtuple("_WEBHOOK", _OWN)), cast("type[Any]", namedtuple("_JOB", _ITS))

_TAKEN = claims.taking_any(Webhook).cte("taken")
_TAKE = select(
    *(_TAKEN.c[name] for name in _OWN), *(jobs.c[name].label(f"job_{name}") for name in _ITS)
).select_from(_TAKEN.outerjoin(jobs, jobs.c.id == _TAKEN.c.job))
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
    def due_at_ms(self) -> int | None:
        return self.row.due_at_ms

    @property
    def fence(self) -> int:
        return self.row.fence

    @property
    def tries(self) -> int:
        return self.row.tries


async def claim(connection: AsyncConnection, claimant: Claimant, limit: int) -> list[Heard]:
    """Take the rows that have been due longest, each with its job: the one it names, else by the id at Soniox."""
    if connection.dialect.name == "sqlite":
        heard = await _with_named(connection, await claims.claim(connection, Webhook, claimant, limit=limit))
    else:
        found = (await claims.take_oldest(connection, claimant, _TAKE, limit)).all()
        heard = [Heard(_WEBHOOK(*row[: len(_OWN)]), _job(row[len(_OWN) :])) for row in found]
    return await _with_known_at_soniox(connection, heard)


async def _with_named(connection: AsyncConnection, rows: Sequence[Webhook]) -> list[Heard]:
    """Of SQLite, which has no statement that changes rows and reads others."""
    named = [row.job for row in rows if row.job]
    found = await connection.execute(_NAMED, {"ids": named}) if named else None
    by_id = {job.id: job for job in as_models(Transcription, found)} if found else {}
    return [Heard(row, by_id.get(row.job)) for row in rows]


async def _with_known_at_soniox(connection: AsyncConnection, heard: list[Heard]) -> list[Heard]:
    nameless = [each.row.soniox_id for each in heard if not each.row.job]
    if not nameless:
        return heard
    found = await connection.execute(_KNOWN_AT_SONIOX, {"ids": nameless})
    known = {job.soniox_id: job for job in as_models(Transcription, found)}
    return [each if each.row.job else Heard(each.row, known.get(each.row.soniox_id)) for each in heard]


def _job(values: Sequence[Any]) -> Transcription | None:
    job = _JOB(*values)
    return None if job.id is None else job
