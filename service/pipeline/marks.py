"""The marks by which the relay knows its own things at Soniox again. Pure."""

from service.tables import Transcription

FILE_MARK = "soniox-relay:"


def file_reference(job: Transcription) -> str:
    """The `client_reference_id` of the file uploaded for one attempt of a job."""
    return f"{FILE_MARK}{job.id}:{job.attempt}"
