"""Transcriptions after they were submitted: read, list, count, retry, delete."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from sqlmodel import Session

from service import tables
from service.api.auth import Caller, EndingsOf, Reader, RelayOf, Submitter
from service.api.documents import EVERYWHERE, NOT_CHANGED, refused
from service.api.etags import answer_once
from service.api.listing import Count, NextCursor, PageOf, WantedOf, counted, cut
from service.errors import NotFound
from service.ids import is_uuid
from service.lifecycle import OPEN_STAGES, Stage
from service.relay import Relay
from service.schemas import Open, TimelineStep, Transcription, TranscriptionWithSummary, TranscriptionWithTimeline
from service.services.transcriptions import delete_transcription, retry_transcription
from service.store import transcription_queries, transcriptions, transcripts

router = APIRouter(prefix="/v1/transcriptions", tags=["Transcriptions"], responses=EVERYWHERE)

LONGEST_WAIT_S = 60


class TranscriptionPage(Open):
    """Some transcriptions."""

    transcriptions: list[TranscriptionWithSummary]
    next_page_cursor: NextCursor


@router.get("", summary="List transcriptions")
async def list_page(relay: RelayOf, wanted: WantedOf, page: PageOf) -> TranscriptionPage:
    def query(session: Session) -> tuple[list[tables.Transcription], dict[str, Any]]:
        found = transcription_queries.page(session, wanted, page)
        return found, transcripts.summaries(session, [job.id for job in found])

    found, summaries = await relay.db.read(query)
    here, cursor = cut(found, page)
    shown = [TranscriptionWithSummary.of(job, summary=summaries.get(job.id)) for job in here]
    return TranscriptionPage(transcriptions=shown, next_page_cursor=cursor)


@router.get("/count", summary="Count transcriptions")
async def count(relay: RelayOf, wanted: WantedOf) -> Count:
    return counted(await relay.db.read(lambda session: transcription_queries.count(session, wanted)))


@router.get(
    "/{transcription_id}",
    summary="Read a transcription, or wait for its end",
    response_model=TranscriptionWithTimeline,
    responses=NOT_CHANGED,
)
async def read(
    transcription_id: str,
    request: Request,
    caller: Reader,
    relay: RelayOf,
    endings: EndingsOf,
    wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT_S, description="Seconds to wait for the end.")] = 0,
) -> Response:
    job = await owned(relay, transcription_id, caller)
    if wait and Stage(job.stage) in OPEN_STAGES:
        await endings.wait_for(job.id, wait)
        job = await owned(relay, transcription_id, caller)
    entries, summaries = await relay.db.read(
        lambda session: (
            transcription_queries.timeline_of(session, job.id),
            transcripts.summaries(session, [job.id]),
        )
    )
    steps = [TimelineStep.of(entry) for entry in entries]
    return answer_once(request, TranscriptionWithTimeline.of(job, summary=summaries.get(job.id), timeline=steps))


@router.post("/{transcription_id}/retry", summary="Try a failed transcription again", responses=refused(409))
async def retry_one(transcription_id: str, caller: Submitter, relay: RelayOf) -> Transcription:
    await retry_transcription(relay, await owned(relay, transcription_id, caller))
    return Transcription.of(await owned(relay, transcription_id, caller))


@router.delete("/{transcription_id}", status_code=204, summary="Delete a transcription here and at Soniox")
async def delete(transcription_id: str, caller: Submitter, relay: RelayOf) -> Response:
    await delete_transcription(relay, await owned(relay, transcription_id, caller))
    return Response(status_code=204)


async def owned(relay: Relay, transcription_id: str, caller: Caller) -> tables.Transcription:
    """The caller's transcription. Raises NotFound, the same for a stranger's, for none and for a malformed id."""
    job = None
    if is_uuid(transcription_id):
        job = await relay.db.read(
            lambda session: transcriptions.get(session, transcription_id.lower(), caller.sees)
        )
    if job is None:
        raise NotFound("Transcription not found.", error_type="transcription_not_found")
    return job
