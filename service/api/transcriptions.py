"""Transcriptions: submit, read, list, count, retry, delete."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response

from service.accept import Order, accept
from service.api.auth import Caller, Reader, RelayOf, Submitter
from service.api.cursors import decode, encode
from service.api.submission import Submission, parse_submission
from service.api.uploads import receive_form
from service.discard import discard, retry
from service.errors import InvalidRequest, NotFound, TooLarge
from service.lifecycle import OPEN_STAGES, Stage
from service.relay import Relay
from service.schemas import timeline_object, transcription_object
from service.store import files, timeline, transcriptions
from service.store.transcriptions import Page, jobs
from service.tables import File, Transcription

router = APIRouter(prefix="/v1/transcriptions", tags=["Transcriptions"])

LARGEST_REQUEST = 256 * 1024  # bytes of JSON
WAIT_POLL_S = 0.25


@router.post("", status_code=201, summary="Submit a recording")
async def create(
    request: Request,
    caller: Submitter,
    relay: RelayOf,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
) -> dict[str, Any]:
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        order = await _order_with_file(request, caller, relay, idempotency_key)
    else:
        order = _order(parse_submission(await _body(request), brings_file=False), caller, idempotency_key, None)
    job, _ = await _accept_or_forget(relay, order)
    return transcription_object(job)


@router.get("", summary="List transcriptions")
async def list_page(
    caller: Reader,
    relay: RelayOf,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
    cursor: str = "",
) -> dict[str, Any]:
    async with relay.db.read() as connection:
        found = await transcriptions.page_of(connection, Page(limit + 1, decode(cursor)), *_whose(caller))
    page = found[:limit]
    more = encode(page[-1].created_at_ms, page[-1].id) if len(found) > limit else None
    return {"transcriptions": [transcription_object(job) for job in page], "next_page_cursor": more}


@router.get("/count", summary="Count transcriptions")
async def count(caller: Reader, relay: RelayOf) -> dict[str, int]:
    async with relay.db.read() as connection:
        total = await transcriptions.count(connection, *_whose(caller))
    return {"total": total, "public_api": total, "playground": 0}


@router.get("/{transcription_id}", summary="Read a transcription")
async def read(
    transcription_id: str,
    caller: Reader,
    relay: RelayOf,
    wait: Annotated[float, Query(ge=0, le=60, description="Seconds to wait for the end.")] = 0,
) -> dict[str, Any]:
    job = await _wait_for_end(relay, transcription_id, caller, wait)
    async with relay.db.read() as connection:
        entries = await timeline.of(connection, job.id)
    return {**transcription_object(job), "timeline": [timeline_object(entry) for entry in entries]}


@router.post("/{transcription_id}/retry", summary="Try a failed transcription again")
async def retry_one(transcription_id: str, caller: Submitter, relay: RelayOf) -> dict[str, Any]:
    await retry(relay, await owned(relay, transcription_id, caller))
    return transcription_object(await owned(relay, transcription_id, caller))


@router.delete("/{transcription_id}", status_code=204, summary="Delete a transcription here and at Soniox")
async def delete(transcription_id: str, caller: Submitter, relay: RelayOf) -> Response:
    await discard(relay, await owned(relay, transcription_id, caller))
    return Response(status_code=204)


async def owned(relay: Relay, transcription_id: str, caller: Caller) -> Transcription:
    """The caller's transcription. Raises NotFound, the same for a stranger's as for none."""
    async with relay.db.read() as connection:
        job = await transcriptions.get(connection, transcription_id.lower(), caller.sees)
    if job is None:
        raise NotFound("Transcription not found.", error_type="transcription_not_found")
    return job


async def _wait_for_end(relay: Relay, transcription_id: str, caller: Caller, longest_s: float) -> Transcription:
    deadline = asyncio.get_running_loop().time() + longest_s
    while True:
        job = await owned(relay, transcription_id, caller)
        left_s = deadline - asyncio.get_running_loop().time()
        if Stage(job.stage) not in OPEN_STAGES or left_s <= 0:
            return job
        await asyncio.sleep(min(WAIT_POLL_S, left_s))


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_REQUEST:
            raise TooLarge(f"the request is over {LARGEST_REQUEST} bytes")
    return bytes(body)


async def _order_with_file(request: Request, caller: Caller, relay: Relay, idempotency_key: str | None) -> Order:
    form = await receive_form(relay, request, caller.owner)
    try:
        if form.file is None:
            raise InvalidRequest("the part `file` is missing", problems=(("file.file", "Field required"),))
        if "request" not in form.fields:
            raise InvalidRequest("the part `request` is missing", problems=(("body.request", "Field required"),))
        submission = parse_submission(form.fields["request"], brings_file=True)
    except InvalidRequest:
        await _forget(relay, form.file)
        raise
    return _order(submission, caller, idempotency_key, form.file)


def _order(submission: Submission, caller: Caller, idempotency_key: str | None, file: File | None) -> Order:
    return Order(
        owner=caller.owner,
        request=submission.soniox_fields(),
        filename=submission.filename(),
        metadata=submission.metadata,
        callback_url=submission.webhook_url,
        callback_header=submission.webhook_auth_header_name,
        callback_secret=submission.webhook_auth_header_value,
        idempotency_key=idempotency_key,
        file=file,
    )


async def _accept_or_forget(relay: Relay, order: Order) -> tuple[Transcription, bool]:
    try:
        return await accept(relay, order)
    except BaseException:
        await _forget(relay, order.file)
        raise


async def _forget(relay: Relay, file: File | None) -> None:
    if file is not None:
        await relay.db.write(lambda connection: files.remove(connection, file.id))


def _whose(caller: Caller) -> list[Any]:
    return [] if caller.sees is None else [jobs.c.owner == caller.sees]
