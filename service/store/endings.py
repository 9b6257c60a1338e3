"""How transcriptions end: moves e, f and g."""

from dataclasses import asdict, dataclass

from sqlalchemy import update
from sqlmodel import Session

from service.lifecycle import Stage, sources_of
from service.store.claims import DONE
from service.store.rows import changed
from service.tables import Transcription, table_of

jobs = table_of(Transcription)


@dataclass(frozen=True)
class Ending:
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


def mark_finished(session: Session, ending: Ending) -> Transcription | None:
    """The row as it is afterwards, or None when that attempt was finished already or is gone.

    The raised fence tells whoever still works on the row that the claim is lost.
    """
    told = {name: value for name, value in asdict(ending).items() if value is not None}
    attempt = (jobs.c.id == told.pop("transcription_id")) & (jobs.c.attempt == told.pop("attempt"))
    open_one = attempt & jobs.c.stage.in_(sources_of(ending.stage))
    done = {**told, **DONE, "check_at_ms": None, "unsettled": False, "fence": jobs.c.fence + 1}
    statement = update(Transcription).where(open_one).values(**done).returning(Transcription)
    return changed(session, statement).one_or_none()
