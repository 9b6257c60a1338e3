"""Lists, counts and timelines of transcriptions, and those that exceed the retention period."""

import sqlite3
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, assert_never

from sqlalchemy import ColumnElement, Table, TextClause, and_, delete, exists, func, not_, or_, text, tuple_
from sqlmodel import Session, select
from sqlmodel.sql.expression import SelectOfScalar

from service.lifecycle import AT_WORK, OPEN_STAGES, SonioxStatus, Stage
from service.store.statements import insert_all
from service.tables import NOT_COMPLETED, Delivery, TimelineEntry, Transcription, table_of

Row = TypeVar("Row")


@dataclass(frozen=True)
class Page:
    """One page of a list: `limit` rows after the position `after` (created_at_ms, id) in the chosen order."""

    limit: int
    after: tuple[int, str] | None = None
    newest_first: bool = True


def keyset_page(query: SelectOfScalar[Row], table: Table, page: Page) -> SelectOfScalar[Row]:
    """Restrict `query` to one page, plus one row of a next page. `table` has `created_at_ms` and `id`."""
    columns = (table.c.created_at_ms, table.c.id)
    if page.after is not None:
        position = tuple_(*columns)
        query = query.where(position < page.after if page.newest_first else position > page.after)
    ordered = query.order_by(*[column.desc() if page.newest_first else column for column in columns])
    return ordered.limit(page.limit + 1)


Condition = ColumnElement[bool] | TextClause

jobs = table_of(Transcription)


@dataclass(frozen=True)
class TranscriptionFilter:
    """Which transcriptions to list. None and the empty tuple match all."""

    owner: str | None
    statuses: tuple[SonioxStatus, ...] = ()
    stages: tuple[Stage, ...] = ()
    client_reference_id: str | None = None
    created_after_ms: int | None = None
    created_before_ms: int | None = None

    def conditions(self) -> list[Condition]:
        """Return the filter as SQL conditions."""
        return [condition for condition in self._each() if condition is not None]

    def _each(self) -> list[Condition | None]:
        return [
            None if self.owner is None else jobs.c.owner == self.owner,
            text(NOT_COMPLETED) if self._is_about_unfinished() else None,
            or_(*[_contains(status) for status in self.statuses]) if self.statuses else None,
            jobs.c.stage.in_(self.stages) if self.stages else None,
            None if self.client_reference_id is None else jobs.c.client_reference_id == self.client_reference_id,
            None if self.created_after_ms is None else jobs.c.created_at_ms > self.created_after_ms,
            None if self.created_before_ms is None else jobs.c.created_at_ms < self.created_before_ms,
        ]

    def _is_about_unfinished(self) -> bool:
        by_status = self.statuses and "completed" not in self.statuses
        return bool(by_status or (self.stages and Stage.COMPLETED not in self.stages))


def page(session: Session, wanted: TranscriptionFilter, page: Page) -> list[Transcription]:
    """Return one page, plus one row if there is a next page."""
    query = keyset_page(select(Transcription).where(*wanted.conditions()), jobs, page)
    return list(session.exec(query))


def count(session: Session, wanted: TranscriptionFilter) -> int:
    """Count the transcriptions that match."""
    query = select(func.count()).select_from(jobs).where(*wanted.conditions())
    return int(session.exec(query).one())


def filenames(session: Session, ids: Collection[str]) -> dict[str, str]:
    """Return filenames by transcription id."""
    found = session.exec(select(jobs.c.id, jobs.c.filename).where(jobs.c.id.in_(ids)))
    return dict(found.all())


def still_open(session: Session, ids: Collection[str]) -> set[str]:
    """Return those of `ids` that are open. A deleted transcription is not."""
    query = select(jobs.c.id).where(jobs.c.id.in_(ids), jobs.c.stage.in_(OPEN_STAGES))
    return set(session.exec(query))


def _contains(status: SonioxStatus) -> ColumnElement[bool]:
    """Match the stages that have this Soniox status; the inverse of `lifecycle.soniox_status`."""
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


timeline = table_of(TimelineEntry)


def add_timeline_entries(session: Session, *entries: TimelineEntry) -> None:
    """Insert entries, in the transaction of the step that they record."""
    insert_all(session, entries)


def timeline_of(session: Session, transcription_id: str) -> list[TimelineEntry]:
    """Return all entries of a transcription, oldest first."""
    query = select(TimelineEntry).where(timeline.c.transcription_id == transcription_id).order_by(timeline.c.id)
    return list(session.exec(query))


def newest_timeline_entries(session: Session, transcription_id: str, limit: int) -> list[TimelineEntry]:
    """Return the newest entries of a transcription, newest first."""
    theirs = select(TimelineEntry).where(timeline.c.transcription_id == transcription_id)
    return list(session.exec(theirs.order_by(timeline.c.id.desc()).limit(limit)))


def delete_timeline(session: Session, transcription_id: str) -> None:
    """Delete the entries of a transcription."""
    session.exec(delete(timeline).where(timeline.c.transcription_id == transcription_id))


deliveries = table_of(Delivery)

LOCK_WAIT_S = 0.5  # a longer wait would block writes


def expired(session: Session, before_ms: int, limit: int) -> list[Transcription]:
    """Return transcriptions that ended before `before_ms` and have no delivery due, oldest first.

    Deliveries held for a disabled endpoint are not due, so a disabled endpoint does not extend the retention.
    """
    # The expressions keep the planner on the index on created_at_ms: it is in order, any other needs a sort.
    over = jobs.c.stage.concat("").in_((Stage.COMPLETED, Stage.FAILED)) & (jobs.c.finished_at_ms + 0 < before_ms)
    pending = (deliveries.c.transcription_id == jobs.c.id) & deliveries.c.due_at_ms.is_not(None)
    query = (
        select(Transcription)
        .where(jobs.c.created_at_ms < before_ms, over, ~exists().where(pending))
        .order_by(jobs.c.created_at_ms, jobs.c.id)
        .limit(limit)
    )
    return list(session.exec(query))


def truncate_wal(path: Path) -> bool:
    """Checkpoint and truncate SQLite's write-ahead log. Return False when a reader prevented it."""
    with closing(sqlite3.connect(path, timeout=LOCK_WAIT_S)) as connection:
        return bool(connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0)
