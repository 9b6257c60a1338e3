"""Claimed rows of the inbox, each with the transcription it is about."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlmodel import Session, select

from service.store import claims
from service.store.claims import Claimant
from service.tables import Transcription, Webhook, table_of

jobs = table_of(Transcription)


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


def claim(session: Session, claimant: Claimant, limit: int) -> list[Heard]:
    """Take the rows that have been due longest, each with its job: the one it names, else by the id at Soniox."""
    rows = claims.claim(session, Webhook, claimant, limit=limit)
    named = {job.id: job for job in _jobs(session, "id", [row.job for row in rows if row.job])}
    unnamed = [row.soniox_id for row in rows if not row.job]
    known = {job.soniox_id: job for job in _jobs(session, "soniox_id", unnamed)}
    return [Heard(row, named.get(row.job) if row.job else known.get(row.soniox_id)) for row in rows]


def _jobs(session: Session, column: str, values: Sequence[str]) -> Sequence[Transcription]:
    if not values:
        return []
    return session.exec(select(Transcription).where(jobs.c[column].in_(values))).all()
