"""Transcripts: read one in any export format, filtered and with an ETag."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from service import __version__, schemas
from service.api.deps import SEVERAL, Reader, RelayDep, comma_list, invalid_query
from service.api.responses import COMMON_RESPONSES, NOT_CHANGED, matches_etag, refusals
from service.errors import InvalidStateError
from service.lifecycle import Stage
from service.relay import Relay
from service.services.keys import Caller
from service.services.transcriptions import get_owned_transcription
from service.store import transcripts
from service.tables import Transcript, Transcription
from service.transcripts.exports import Format, json_body, stream
from service.transcripts.filters import RenderOptions, Stream, TokenFilter, Translation

MAX_NAME_LENGTH = 150  # characters; file systems take 255 bytes


def content_disposition(recording: str, fmt: Format) -> dict[str, str]:
    """Return a Content-Disposition header with a filename derived from the recording's (RFC 6266).

    Browsers display plain text and save the other formats. A format without a suffix gets no header.
    """
    if not fmt.suffix:
        return {}
    name = _safe_stem(recording) + fmt.suffix
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", name)
    kind = "inline" if fmt is Format.TEXT else "attachment"
    return {"Content-Disposition": f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"}


def _safe_stem(recording: str) -> str:
    """Return the recording's name without folders and suffix, with `_` for characters unsafe in filenames."""
    stem = PurePosixPath(recording.replace("\\", "/")).stem
    return re.sub(r'[\x00-\x1f\x7f<>:"|?*]', "_", stem).strip(" .")[:MAX_NAME_LENGTH] or "transcript"


router = APIRouter(prefix="/v1/transcriptions", tags=["Transcripts"], responses=COMMON_RESPONSES)

LATEST_MS = 2**31 - 1


class Segment(schemas.Open):
    """What one speaker says in one language before another speaker or language comes."""

    speaker: str | None
    language: str | None
    start_ms: int | None
    end_ms: int | None
    text: str
    confidence: float | None = Field(description="Mean over its tokens.")
    translation_status: str | None = Field(None, description="Left out where Soniox gives none.")


RESPONSES: dict[str, Any] = {
    **NOT_CHANGED[200],
    "description": "In the form that was asked for; `segments` are a list",
    "model": schemas.TranscriptPublic | list[Segment],
    "content": {kind.partition(";")[0]: {} for kind in dict.fromkeys(each.media_type for each in Format)},
}


class TranscriptQuery(BaseModel):
    """What of a transcript, and in which form."""

    format: Format = Format.JSON
    from_ms: int | None = Field(None, ge=0, le=LATEST_MS, description="What ends later, in ms of the recording.")
    to_ms: int | None = Field(None, ge=0, le=LATEST_MS, description="What begins earlier.")
    speaker: list[str] = Field([], description=f"Only these speakers. {SEVERAL}")
    language: list[str] = Field([], description=f"Only these languages. {SEVERAL}")
    translation: Translation = Field("all", description="`original`: what was spoken; `translation`: the rest.")
    max_confidence: float | None = Field(None, ge=0, le=1, description="Only tokens that are as doubtful as this.")
    max_chars: int = Field(42, ge=10, le=200, description="Characters in a line of a subtitle.")
    max_lines: int = Field(2, ge=1, le=10, description="Lines of a subtitle.")
    min_duration_ms: int = Field(1_000, ge=0, le=60_000, description="A subtitle stays so long if it can.")
    max_duration_ms: int = Field(7_000, ge=100, le=60_000, description="A subtitle stays no longer.")
    chars_per_second: float = Field(17, ge=1, le=1_000, description="How fast subtitles can be read.")
    stream: Stream | None = Field(
        None, description="What subtitles show: what was spoken, its translation, or both one above the other."
    )

    def chosen(self) -> TokenFilter:
        """Return the token filter. Raises InvalidRequestError if the time window ends before it begins."""
        if self.from_ms is not None and self.to_ms is not None and self.to_ms < self.from_ms:
            raise invalid_query("to_ms", "must not be less than from_ms")
        return TokenFilter(
            from_ms=self.from_ms,
            to_ms=self.to_ms,
            speakers=comma_list(self.speaker),
            languages=comma_list(self.language),
            translation=self.translation,
            max_confidence=self.max_confidence,
        )

    def options(self, transcription_id: str) -> RenderOptions:
        """Return the options for rendering. Raises InvalidRequestError for contradictory values."""
        if self.max_duration_ms < self.min_duration_ms:
            raise invalid_query("max_duration_ms", "must not be less than min_duration_ms")
        return RenderOptions(
            chosen=self.chosen(),
            transcription_id=transcription_id,
            max_chars=self.max_chars,
            max_lines=self.max_lines,
            min_duration_ms=self.min_duration_ms,
            max_duration_ms=self.max_duration_ms,
            chars_per_second=self.chars_per_second,
            stream=self.stream,
        )


@dataclass(frozen=True)
class TranscriptReader:
    """A stored transcript with the requested format and options."""

    relay: Relay
    job: Transcription
    stored: Transcript
    format: Format
    options: RenderOptions

    def tag(self) -> str:
        """Return a strong ETag of the stored content, the format, the options and the version of the relay."""
        parts = (self.stored.digest, self.format, repr(self.options), __version__)
        return f'"{hashlib.blake2s(repr(parts).encode(), digest_size=16).hexdigest()}"'

    async def answer(self, headers: dict[str, str]) -> Response:
        """Return the document as a stream. The database connection is released before the first byte."""
        chosen = self.options.chosen
        chunks = await self.relay.db.read(
            lambda session: transcripts.read_chunks(session, self.job.id, chosen.from_ms, chosen.to_ms)
        )
        if chunks is None:
            raise _unavailable()
        if self.format is Format.JSON:
            part = None if chosen == TokenFilter() else chosen
            body = json_body(self.stored.envelope, chunks, self.job.id, part)
        else:
            body = stream(self.format, chunks, self.options)
        return StreamingResponse(body, media_type=self.format.media_type, headers=headers)


@router.get(
    "/{transcription_id}/transcript",
    summary="Read a transcript",
    response_class=StreamingResponse,
    responses={**NOT_CHANGED, **refusals(409), 200: RESPONSES},
)
async def read(
    transcription_id: str,
    wanted: Annotated[TranscriptQuery, Query()],
    request: Request,
    caller: Reader,
    relay: RelayDep,
) -> Response:
    return await transcript_response(relay, request, caller, transcription_id, wanted)


async def transcript_response(
    relay: Relay, request: Request, caller: Caller, transcription_id: str, wanted: TranscriptQuery
) -> Response:
    """Return a transcript in the requested form, or 304 if the caller has it.

    Raises NotFoundError, InvalidStateError and InvalidRequestError.
    """
    job = await get_owned_transcription(relay, transcription_id, caller)
    options = wanted.options(job.id)
    reading = TranscriptReader(relay, job, await stored_transcript(relay, job), wanted.format, options)
    tag = reading.tag()
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if matches_etag(request, tag):
        return Response(status_code=304, headers=headers)
    return await reading.answer(headers | content_disposition(job.filename, wanted.format))


async def stored_transcript(relay: Relay, job: Transcription) -> Transcript:
    """Return the transcript of a completed job. Raises InvalidStateError with the reason if there is none."""
    if job.stage == Stage.FAILED:
        raise InvalidStateError("The transcription has failed, so it has no transcript.")
    if job.stage != Stage.COMPLETED:
        raise InvalidStateError("The transcription is not completed.")
    found = await relay.db.read(lambda session: transcripts.get(session, job.id))
    if found is None:
        raise _unavailable()
    return found


def _unavailable() -> InvalidStateError:
    return InvalidStateError("The transcript is no longer available.")
