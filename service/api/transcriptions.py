"""Transcriptions: submit, read, list, count, retry, delete."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from sqlmodel import Session

from service import tables
from service.api.deps import CompletionWaiterDep, ModelCacheDep, Reader, RelayDep, Submitter
from service.api.pagination import Count, FilterDep, NextCursor, PageDep, Text, count_answer, page_and_cursor
from service.api.requests import EXAMPLE, Submission, check_model, parse_submission
from service.api.responses import (
    COMMON_RESPONSES,
    NOT_CHANGED,
    form_of,
    json_response,
    ref_to,
    refusals,
    respond_unless_known,
    with_headers,
)
from service.api.uploads import IncomingFile, discard_form, receive_form
from service.errors import InvalidRequestError, UnsupportedMediaTypeError
from service.lifecycle import OPEN_STAGES, Stage
from service.relay import Relay
from service.schemas import (
    Open,
    TimelineStep,
    TranscriptionPublic,
    TranscriptionWithSummary,
    TranscriptionWithTimeline,
)
from service.services.endpoints import check_public_url
from service.services.keys import Caller
from service.services.transcriptions import (
    CreateRequest,
    create_transcription,
    delete_transcription,
    get_owned_transcription,
    retry_transcription,
)
from service.store import transcription_queries, transcripts
from service.tracing import sane_traceparent

router = APIRouter(prefix="/v1/transcriptions", tags=["Transcriptions"], responses=COMMON_RESPONSES)

Key = Annotated[Text | None, Header(min_length=1, max_length=255, description="Repeats find the first job.")]


BODY = {
    "application/json": {"schema": ref_to(Submission), "example": EXAMPLE},
    **form_of("request", ref_to("SubmissionWithFile"), required=True),
}


@router.post(
    "",
    status_code=201,
    summary="Submit a recording",
    response_model=TranscriptionPublic,
    responses={201: with_headers("Location", "Idempotent-Replayed"), **refusals(413, 415, 422)},
    openapi_extra={"requestBody": {"required": True, "content": BODY}},
)
async def create(
    request: Request, caller: Submitter, relay: RelayDep, model_cache: ModelCacheDep, idempotency_key: Key = None
) -> Response:
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    models = await model_cache.async_models()
    if kind == "multipart/form-data":
        job, is_new = await _accept_form(relay, request, caller, models, idempotency_key)
    elif kind == "application/json" or kind.endswith("+json"):
        submission = _checked(relay, await request.body(), models, brings_file=False)
        job, is_new = await create_transcription(relay, _order(request, submission, caller, idempotency_key))
    else:
        raise UnsupportedMediaTypeError("send application/json or multipart/form-data")
    return _created(job, is_new=is_new)


def _created(job: tables.Transcription, *, is_new: bool) -> Response:
    headers = {"Location": f"/v1/transcriptions/{job.id}"}
    if not is_new:
        headers["Idempotent-Replayed"] = "true"
    return json_response(TranscriptionPublic.of(job), 201, headers)


async def _accept_form(
    relay: Relay, request: Request, caller: Caller, models: frozenset[str], idempotency_key: str | None
) -> tuple[tables.Transcription, bool]:
    form = await receive_form(relay, request, caller.owner, "request")
    try:
        incoming = form.file
        if "request" not in form.fields:
            problem = ("body.request", "Field required", "missing")
            raise InvalidRequestError("the part `request` is missing", problems=(problem,))
        submission = _checked(relay, form.fields["request"], models, brings_file=True)
        return await create_transcription(relay, _order(request, submission, caller, idempotency_key, incoming))
    except BaseException:
        await discard_form(relay, form)
        raise


def _checked(relay: Relay, body: bytes, models: frozenset[str], *, brings_file: bool) -> Submission:
    submission = parse_submission(body, brings_file=brings_file)
    check_model(submission, models)
    if submission.webhook_url:
        check_public_url(relay.delivery_client.guard, submission.webhook_url, "body.payload.webhook_url")
    return submission


def _order(
    asked: Request,
    submission: Submission,
    caller: Caller,
    idempotency_key: str | None,
    incoming: IncomingFile | None = None,
) -> CreateRequest:
    return CreateRequest(
        owner=caller.owner,
        sees=caller.sees,
        request=submission.soniox_fields(),
        filename=submission.filename(),
        metadata=submission.metadata,
        callback_url=submission.webhook_url,
        callback_header=submission.webhook_auth_header_name,
        callback_secret=submission.webhook_auth_header_value,
        idempotency_key=idempotency_key,
        file=incoming.row if incoming else None,
        file_digest=incoming.digest if incoming else "",
        traceparent=sane_traceparent(asked.headers.get("traceparent")),
    )


MAX_WAIT_S = 60


class TranscriptionPage(Open):
    """Some transcriptions."""

    transcriptions: list[TranscriptionWithSummary]
    next_page_cursor: NextCursor


@router.get("", summary="List transcriptions")
async def list_page(relay: RelayDep, wanted: FilterDep, page: PageDep) -> TranscriptionPage:
    def query(session: Session) -> tuple[list[tables.Transcription], dict[str, Any]]:
        found = transcription_queries.page(session, wanted, page)
        return found, transcripts.summaries(session, [job.id for job in found])

    found, summaries = await relay.db.read(query)
    here, cursor = page_and_cursor(found, page)
    shown = [TranscriptionWithSummary.of(job, summary=summaries.get(job.id)) for job in here]
    return TranscriptionPage(transcriptions=shown, next_page_cursor=cursor)


@router.get("/count", summary="Count transcriptions")
async def count(relay: RelayDep, wanted: FilterDep) -> Count:
    return count_answer(await relay.db.read(lambda session: transcription_queries.count(session, wanted)))


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
    relay: RelayDep,
    completion_waiter: CompletionWaiterDep,
    wait: Annotated[float, Query(ge=0, le=MAX_WAIT_S, description="Seconds to wait for the end.")] = 0,
) -> Response:
    job = await get_owned_transcription(relay, transcription_id, caller)
    if wait and Stage(job.stage) in OPEN_STAGES:
        await completion_waiter.wait_for(job.id, wait)
        job = await get_owned_transcription(relay, transcription_id, caller)
    entries, summaries = await relay.db.read(
        lambda session: (
            transcription_queries.timeline_of(session, job.id),
            transcripts.summaries(session, [job.id]),
        )
    )
    steps = [TimelineStep.of(entry) for entry in entries]
    return respond_unless_known(
        request, TranscriptionWithTimeline.of(job, summary=summaries.get(job.id), timeline=steps)
    )


@router.post("/{transcription_id}/retry", summary="Try a failed transcription again", responses=refusals(409))
async def retry(transcription_id: str, caller: Submitter, relay: RelayDep) -> TranscriptionPublic:
    await retry_transcription(relay, await get_owned_transcription(relay, transcription_id, caller))
    return TranscriptionPublic.of(await get_owned_transcription(relay, transcription_id, caller))


@router.delete("/{transcription_id}", status_code=204, summary="Delete a transcription here and at Soniox")
async def delete(transcription_id: str, caller: Submitter, relay: RelayDep) -> Response:
    await delete_transcription(relay, await get_owned_transcription(relay, transcription_id, caller))
    return Response(status_code=204)
