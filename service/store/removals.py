"""What must go at Soniox."""

from collections.abc import Sequence

from sqlalchemy import delete
from sqlmodel import Session

from service.ids import new_id
from service.store.claims import still_held
from service.store.rows import insert_all
from service.tables import Removal, table_of


def of(
    transcription_id: str,
    soniox_id: str | None,
    soniox_file_id: str | None,
    now_ms: int,
    *,
    unsettled: bool = False,
) -> list[Removal]:
    """The row that has a transcription and its file removed; none when there is nothing to remove."""
    if soniox_id is None and soniox_file_id is None and not unsettled:
        return []
    row = Removal(
        id=new_id("rem", now_ms),
        transcription_id=transcription_id,
        soniox_id=soniox_id,
        soniox_file_id=soniox_file_id,
        unsettled=unsettled,
        created_at_ms=now_ms,
        due_at_ms=now_ms,
    )
    return [row]


def order(session: Session, rows: Sequence[Removal]) -> None:
    """Have all of these removed."""
    insert_all(session, rows)


def done(session: Session, row: Removal) -> None:
    """It is gone; a row whose claim was lost stays."""
    session.exec(delete(table_of(Removal)).where(still_held(Removal, row)))
