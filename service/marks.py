"""The marks by which the relay knows its own things at Soniox again. Pure.

A transcription carries the job's id in its `webhook_url`; a file carries job and attempt in its
`client_reference_id`, which need not be unique there but is here. The inbox knows two words of our own.
"""

from service.tables import Transcription

FILE_MARK = "soniox-relay:"
GONE = "gone"  # the reconciler's own words in the inbox: Soniox does not have it,
STUCK = "stuck"  # or has not finished it within the deadline; the collect stage looks again and ends it


def file_reference(job: Transcription) -> str:
    """The `client_reference_id` of the file uploaded for one attempt of a job."""
    return f"{FILE_MARK}{job.id}:{job.attempt}"


def job_of_reference(reference: str) -> str | None:
    """The job that such a reference names; None for anybody else's."""
    if not reference.startswith(FILE_MARK):
        return None
    return reference.removeprefix(FILE_MARK).rsplit(":", 1)[0]
