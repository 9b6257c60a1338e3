"""Looking through transcriptions: filters, pages, counts."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import assert_never

from sqlalchemy import ColumnElement, TextClause, and_, func, not_, or_, text
from sqlmodel import Session, select

from service.lifecycle import AT_WORK, OPEN_STAGES, SonioxStatus, Stage
from service.store.paging import Page, cut
from service.tables import NOT_COMPLETED, Transcription, table_of

Condition = ColumnElement[bool] | TextClause

jobs = table_of(Transcription)


@dataclass(frozen=True)
class Wanted:
    """Which transcriptions; None and the empty tuple ask for all."""

    owner: str | None
    statuses: tuple[SonioxStatus, ...] = ()
    stages: tuple[Stage, ...] = ()
    client_reference_id: str | None = None
    created_after_ms: int | None = None
    created_before_ms: int | None = None

    def conditions(self) -> list[Condition]:
        """As SQL."""
        return [condition for condition in self._each() if condition is not None]

    def _each(self) -> list[Condition | None]:
        return [
            None if self.owner is None else jobs.c.owner == self.owner,
            text(NOT_COMPLETED) if self._is_about_unfinished() else None,
            or_(*[_has(status) for status in self.statuses]) if self.statuses else None,
            jobs.c.stage.in_(self.stages) if self.stages else None,
            None if self.client_reference_id is None else jobs.c.client_reference_id == self.client_reference_id,
            None if self.created_after_ms is None else jobs.c.created_at_ms > self.created_after_ms,
            None if self.created_before_ms is None else jobs.c.created_at_ms < self.created_before_ms,
        ]

    def _is_about_unfinished(self) -> bool:
        by_status = self.statuses and "completed" not in self.statuses
        return bool(by_status or (self.stages and Stage.COMPLETED not in self.stages))


def page_of(session: Session, wanted: Wanted, page: Page) -> list[Transcription]:
    """One page."""
    query = cut(select(Transcription).where(*wanted.conditions()), jobs, page)
    return list(session.exec(query))


def count(session: Session, wanted: Wanted) -> int:
    """How many there are."""
    query = select(func.count()).select_from(jobs).where(*wanted.conditions())
    return int(session.exec(query).one())


def filenames(session: Session, ids: Collection[str]) -> dict[str, str]:
    """The names of some recordings, by the ids of their transcriptions."""
    found = session.exec(select(jobs.c.id, jobs.c.filename).where(jobs.c.id.in_(ids)))
    return dict(found.all())


def still_open(session: Session, ids: Collection[str]) -> set[str]:
    """Those of `ids` that have not ended; one that is gone has."""
    query = select(jobs.c.id).where(jobs.c.id.in_(ids), jobs.c.stage.in_(OPEN_STAGES))
    return set(session.exec(query))


def _has(status: SonioxStatus) -> ColumnElement[bool]:
    """The stages behind one of Soniox's words; the inverse of `lifecycle.soniox_status`."""
    at_work = and_(jobs.c.stage == Stage.SUBMITTED, func.coalesce(jobs.c.soniox_status, "").in_(AT_WORK))
    match status:
        case "completed":
            return jobs.c.stage == Stage.COMPLETED
        case "error":
            return jobs.c.stage == Stage.FAILED
        case "processing":
            return at_work
        case "queued":
            return and_(jobs.c.stage.in_(OPEN_STAGES), not_(at_work))
        case _:
            assert_never(status)
