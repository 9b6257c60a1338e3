"""POST /v1/transcriptions: a request as JSON, or a form with the file and the request in one call."""

from typing import Annotated

from fastapi import APIRouter, Header, Request, Response

from service import tables
from service.api.auth import Caller, CatalogueOf, RelayOf, Submitter
from service.api.documents import EVERYWHERE, carrying, form_of, ref_to, refused
from service.api.etags import as_json
from service.api.listing import Text
from service.api.submission import EXAMPLE, Submission, parse_submission, refuse_unknown_model
from service.api.subscription import refuse_private
from service.api.uploads import Incoming, forget, receive_form
from service.errors import InvalidRequest, UnsupportedMediaType
from service.relay import Relay
from service.schemas import Transcription
from service.services.transcriptions import CreateRequest, create_transcription
from service.tracing import sane_traceparent

router = APIRouter(prefix="/v1/transcriptions", tags=["Transcriptions"], responses=EVERYWHERE)

Key = Annotated[Text | None, Header(min_length=1, max_length=255, description="Repeats find the first job.")]


BODY = {
    "application/json": {"schema": ref_to(Submission), "example": EXAMPLE},
    **form_of("request", ref_to("SubmissionWithFile"), required=True),
}


@router.post(
    "",
    status_code=201,
    summary="Submit a recording",
    response_model=Transcription,
    responses={201: carrying("Location", "Idempotent-Replayed"), **refused(413, 415, 422)},
    openapi_extra={"requestBody": {"required": True, "content": BODY}},
)
async def create(
    request: Request, caller: Submitter, relay: RelayOf, catalogue: CatalogueOf, idempotency_key: Key = None
) -> Response:
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    models = await catalogue.async_models()
    if kind == "multipart/form-data":
        job, is_new = await _accept_form(relay, request, caller, models, idempotency_key)
    elif kind == "application/json" or kind.endswith("+json"):
        submission = _checked(relay, await request.body(), models, brings_file=False)
        job, is_new = await create_transcription(relay, _order(request, submission, caller, idempotency_key))
    else:
        raise UnsupportedMediaType("send application/json or multipart/form-data")
    return _created(job, is_new=is_new)


def _created(job: tables.Transcription, *, is_new: bool) -> Response:
    headers = {"Location": f"/v1/transcriptions/{job.id}"}
    if not is_new:
        headers["Idempotent-Replayed"] = "true"
    return as_json(Transcription.of(job), 201, headers)


async def _accept_form(
    relay: Relay, request: Request, caller: Caller, models: frozenset[str], idempotency_key: str | None
) -> tuple[tables.Transcription, bool]:
    form = await receive_form(relay, request, caller.owner, "request")
    try:
        incoming = form.file
        if "request" not in form.fields:
            problem = ("body.request", "Field required", "missing")
            raise InvalidRequest("the part `request` is missing", problems=(problem,))
        submission = _checked(relay, form.fields["request"], models, brings_file=True)
        return await create_transcription(relay, _order(request, submission, caller, idempotency_key, incoming))
    except BaseException:
        await forget(relay, form)
        raise


def _checked(relay: Relay, body: bytes, models: frozenset[str], *, brings_file: bool) -> Submission:
    submission = parse_submission(body, brings_file=brings_file)
    refuse_unknown_model(submission, models)
    if submission.webhook_url:
        refuse_private(relay.sender.guard, submission.webhook_url, "body.payload.webhook_url")
    return submission


def _order(
    asked: Request,
    submission: Submission,
    caller: Caller,
    idempotency_key: str | None,
    incoming: Incoming | None = None,
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
