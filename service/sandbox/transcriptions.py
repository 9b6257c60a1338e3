"""Routes of `/v1/transcriptions`."""

import asyncio
import re
from contextlib import suppress
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from service.sandbox.context import ContextDep, SandboxContext
from service.sandbox.limits import page_of
from service.sandbox.schemas import (
    CreateTranscription,
    as_json,
    create_request,
    file_not_found,
    invalid_state,
    page_limit,
    path_id,
    transcription_not_found,
)
from service.sandbox.state import FakeTranscription, timestamp

MASK = "*" * 18
NOT_ECHOED = {"translation", "language_hints_strict", "context"}
EARLY_WEBHOOK_DEADLINE = 10

router = APIRouter(prefix="/v1/transcriptions")


@router.post("", status_code=201)
async def create_transcription(request: Request, desk: ContextDep) -> dict[str, Any]:
    wanted = create_request(await request.body(), desk.config.max_context_chars)
    filename = _filename(wanted, desk)
    desk.quotas.admit_transcription()
    job = desk.soniox.add_transcription(wanted, filename)
    answer = shown(job)
    desk.processing.enqueue(job)
    if wanted.webhook_url and desk.faults.draw(desk.faults.knobs.early_webhook, wanted.webhook_url):
        with suppress(TimeoutError):
            await asyncio.wait_for(job.announced.wait(), EARLY_WEBHOOK_DEADLINE)
    return answer


@router.get("")
async def list_transcriptions(
    desk: ContextDep, limit: str | None = None, cursor: str | None = None
) -> dict[str, Any]:
    newest_first = desk.faults.knobs.list_order == "newest"
    page, following = page_of(
        desk.soniox.transcriptions.values(), page_limit(limit), cursor, newest_first=newest_first
    )
    return {"transcriptions": [shown(job) for job in page], "next_page_cursor": following}


@router.get("/count")
async def count_transcriptions(desk: ContextDep) -> dict[str, int]:
    total = len(desk.soniox.transcriptions)
    return {"total": total, "public_api": total, "playground": 0}


@router.get("/{transcription_id}")
async def get_transcription(transcription_id: str, desk: ContextDep) -> dict[str, Any]:
    return shown(_found(transcription_id, desk))


@router.get("/{transcription_id}/transcript")
async def get_transcript(transcription_id: str, desk: ContextDep) -> Response:
    job = _found(transcription_id, desk)
    if job.transcript is None or shown_status(job) != "completed":
        raise invalid_state(f"Transcription is {shown_status(job)}, so there is no transcript.")
    # msgspec encodes 100,000 tokens in 20 ms; the framework's encoder takes seconds.
    return Response(msgspec.json.encode({"id": job.id} | job.transcript), media_type="application/json")


@router.delete("/{transcription_id}", status_code=204)
async def delete_transcription(transcription_id: str, desk: ContextDep) -> Response:
    job = _found(transcription_id, desk)
    if shown_status(job) == "processing":
        raise invalid_state("Transcription is being processed and cannot be deleted.")
    desk.soniox.forget(job)
    if desk.faults.knobs.cascade_delete and job.request.file_id:
        desk.soniox.delete_file(str(job.request.file_id))
    return Response(status_code=204)


def _filename(wanted: CreateTranscription, desk: SandboxContext) -> str:
    if wanted.audio_url:
        return re.split("[?#]", wanted.audio_url)[0].rpartition("/")[2]
    stored = desk.soniox.files.get(str(wanted.file_id))
    if stored is None and desk.faults.knobs.missing_file == "refuse":
        raise file_not_found()
    return stored.filename if stored else ""


def _found(text: str, desk: SandboxContext) -> FakeTranscription:
    absent = transcription_not_found()
    job_id = path_id(text, "transcription_id", desk.faults.knobs.malformed_id_status, absent)
    job = desk.soniox.transcriptions.get(job_id)
    if job is None:
        raise absent
    return job


def shown_status(job: FakeTranscription) -> str:
    lags = asyncio.get_running_loop().time() < job.shown_done_from
    return "processing" if lags else job.status_word


def shown(job: FakeTranscription) -> dict[str, Any]:
    """Return the transcription object of the API. It echoes the request's fields and masks the secret."""
    request = {name: value for name, value in as_json(job.request).items() if name not in NOT_ECHOED}
    secret = job.request.webhook_auth_header_value
    return request | {
        "id": job.id,
        "status": shown_status(job),
        "created_at": timestamp(job.created_at),
        "filename": job.filename,
        "enable_speaker_diarization": bool(job.request.enable_speaker_diarization),
        "enable_language_identification": bool(job.request.enable_language_identification),
        "audio_duration_ms": job.audio_duration_ms,
        "error_type": job.error_type,
        "error_message": job.error_message,
        "webhook_auth_header_value": None if secret is None else MASK,
        "webhook_status_code": job.webhook_status_code,
    }
