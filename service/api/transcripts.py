"""Transcripts, as Soniox sent them."""

from collections.abc import AsyncIterator

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from service.api.auth import Reader, RelayOf
from service.api.transcriptions import owned
from service.errors import InvalidState
from service.lifecycle import Stage
from service.relay import Relay
from service.store import transcripts
from service.transcripts.codec import json_body

router = APIRouter(prefix="/v1/transcriptions", tags=["Transcripts"])


@router.get("/{transcription_id}/transcript", summary="Read a transcript")
async def read(transcription_id: str, caller: Reader, relay: RelayOf) -> StreamingResponse:
    job = await owned(relay, transcription_id, caller)
    if job.stage != Stage.COMPLETED:
        raise InvalidState("The transcription is not completed.")
    async with relay.db.read() as connection:
        stored = await transcripts.get(connection, job.id)
    if stored is None:
        raise InvalidState("The transcript is no longer available.")
    body = json_body(stored.envelope, _chunks(relay, job.id), job.id)
    return StreamingResponse(body, media_type="application/json")


async def _chunks(relay: Relay, transcription_id: str) -> AsyncIterator[bytes]:
    async with relay.db.read() as connection:
        async for chunk in transcripts.read_chunks(connection, transcription_id):
            yield chunk
