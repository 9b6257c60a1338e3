"""Upload: bring the file of a submission to Soniox, at most once, known again by its reference."""

from functools import partial

from sqlmodel import Session

from service.errors import SonioxRefused, SonioxUncertain
from service.lifecycle import OPEN_STAGES
from service.marks import file_reference
from service.relay import Relay
from service.soniox import Upload
from service.store import files, reconciler, transcriptions
from service.tables import File, Transcription


async def find_or_upload(relay: Relay, job: Transcription) -> str | None:
    """The id of the job's file at Soniox; None when the job needs no file of ours. Raises SonioxError."""
    if job.file_id is None:
        return None
    file = await relay.db.read(partial(files.get, file_id=job.file_id))
    if file is None:
        raise SonioxRefused("the file was deleted before the transcription started", error_type="file_not_found")
    soniox_file_id = await _find(relay, job) if job.unsettled else None
    if soniox_file_id is None:
        soniox_file_id = await _upload(relay, job, file)
    await _remember(relay, job, soniox_file_id)
    return soniox_file_id


async def is_still_mine(relay: Relay, job: Transcription) -> bool:
    """The last look before a call that cannot be undone: at the row, then at the lease.

    While the step waited for its turn, a webhook may have brought the result of an earlier call of this job. Its
    transcription is then gone from Soniox's listing, which is why that alone does not tell.
    """
    held = await relay.db.read(lambda session: transcriptions.is_held(session, job))
    return held and relay.leases.holds(job.id)


def unclear_since_ms(job: Transcription) -> int:
    """An older listing may miss what was under way: the row became due only after that had time to show."""
    return job.due_at_ms or 0


async def _find(relay: Relay, job: Transcription) -> str | None:
    """The file that an earlier call brought there, if it did."""
    return (await relay.listing.files(since_ms=unclear_since_ms(job))).get(file_reference(job))


async def _upload(relay: Relay, job: Transcription, file: File) -> str:
    upload = Upload(file.filename, file.size, file_reference(job), lambda: files.read_chunks(relay.db, file))
    return (await relay.soniox.upload_file(upload, partial(is_still_mine, relay, job))).id


async def _remember(relay: Relay, job: Transcription, soniox_file_id: str) -> None:
    """Before the create, so that a crash in between leaks no file."""

    def remember(session: Session) -> bool:
        if transcriptions.mark_uploaded(session, job, soniox_file_id):
            return True
        present = transcriptions.get(session, job.id, None)
        if present is None or present.stage not in OPEN_STAGES:
            reconciler.add_removals(session, reconciler.removal_of(job.id, None, soniox_file_id, relay.clock()))
        return False  # whoever claimed it since may find and use the file; if not, the reconciler removes it

    if not await relay.db.write(remember, wake=("cleanup",)):
        raise SonioxUncertain("the claim ended while the file was being uploaded")
