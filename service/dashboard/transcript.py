"""/ui/jobs/ID/transcript: a transcript of any length, with one chunk of about 1,000 tokens per page."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from service.api import transcripts as documents
from service.api.deps import RelayDep
from service.api.pagination import Text
from service.api.search import MAX_QUERY
from service.dashboard.page import POLICY
from service.dashboard.render import OptionalText, render, snippet_parts
from service.dashboard.session import ReaderSession
from service.dashboard.transcript_view import TranscriptRow, speaker_lanes, transcript_rows
from service.relay import Relay
from service.services.keys import Caller
from service.services.search import search_transcripts
from service.services.transcriptions import get_owned_transcription
from service.store import transcripts
from service.store.transcripts import ChunkTimes
from service.tables import Transcription
from service.transcripts.columns import unpack_tokens
from service.transcripts.exports import Format
from service.transcripts.search_terms import Phrase, parse
from service.transcripts.summary import LOW_CONFIDENCE
from service.transcripts.tokens import timed

router = APIRouter()

HITS_SHOWN = 50
COLOURS = 6  # for speakers; all further speakers share the last one
HOST = re.compile(r"[a-z0-9.-]+(:[0-9]+)?|\[[0-9a-f:.]+\](:[0-9]+)?")


class TranscriptPageQuery(BaseModel):
    """What of the transcript is shown, as it stands in the address."""

    page: int = Field(0, ge=0, le=1_000_000)
    at: Annotated[int | None, Field(ge=0), OptionalText] = None  # ms: show the page with this moment
    q: Annotated[Text, Field(max_length=MAX_QUERY)] = ""
    below: Annotated[float, Field(ge=0, le=1)] = LOW_CONFIDENCE  # tokens with a lower confidence are marked
    audio: bool = False  # play the recording from its own URL


@router.get("/jobs/{job_id}/transcript")
async def read(
    job_id: str,
    request: Request,
    relay: RelayDep,
    visitor: ReaderSession,
    view: Annotated[TranscriptPageQuery, Query()],
) -> Response:
    job = await get_owned_transcription(relay, job_id, visitor.caller)
    stored = await documents.stored_transcript(relay, job)
    parts, heard = await relay.db.read(
        lambda session: (transcripts.chunk_times(session, job.id), transcripts.speaker_passages(session, job.id))
    )
    here = chunk_at(parts, view)
    packed = None
    if here:
        packed = await relay.db.read(
            partial(transcripts.tokens_of_chunk, transcription_id=job.id, position=here.position)
        )
    duration_ms = stored.summary.get("duration_ms") or 0
    lanes = speaker_lanes(heard, duration_ms, stored.summary.get("speakers") or {})
    source = audio_source(job)
    response = render(
        request,
        "transcript.html",
        job=job,
        summary=stored.summary,
        parts=parts,
        current=here,
        rows=await asyncio.to_thread(_rows, packed, parse(view.q)) if packed else [],
        lanes=lanes,
        voices={lane.speaker: min(n, COLOURS) for n, lane in enumerate(lanes, 1)},
        duration_ms=duration_ms,
        hits=await _hits(relay, job, visitor.caller, view),
        view=view,
        formats=list(Format),
        source=source,
    )
    if view.audio and source:
        response.headers["Content-Security-Policy"] = f"{POLICY}; media-src {source[0]}"
    return response


@router.get("/jobs/{job_id}/transcript/export")
async def export(
    job_id: str,
    wanted: Annotated[documents.TranscriptQuery, Query()],
    request: Request,
    visitor: ReaderSession,
    relay: RelayDep,
) -> Response:
    """Return the document of the API to a browser, which has a session instead of a key."""
    response = await documents.transcript_response(relay, request, visitor.caller, job_id, wanted)
    name = f"transcript-{job_id}.{'json' if wanted.format in {'json', 'segments'} else wanted.format}"
    response.headers.setdefault("Content-Disposition", f'attachment; filename="{name}"')
    return response


def chunk_at(parts: Sequence[ChunkTimes], view: TranscriptPageQuery) -> ChunkTimes | None:
    """The part that the address asks for; the last one for what lies behind the end."""
    if view.at is not None:
        later = (part for part in parts if part.end_ms is not None and part.end_ms > view.at)
        return next(later, parts[-1] if parts else None)
    return parts[min(view.page, len(parts) - 1)] if parts else None


def audio_source(job: Transcription) -> tuple[str, str] | None:
    """Return the (origin, URL) of a recording that a browser may fetch, or None for an uploaded file.

    The origin becomes part of the page's policy, so HOST excludes characters that could start a directive.
    """
    url = job.request.get("audio_url")
    if not isinstance(url, str):
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    host = parts.netloc.lower()
    if parts.scheme not in {"http", "https"} or not HOST.fullmatch(host):
        return None
    return f"{parts.scheme}://{host}", url


def _rows(packed: bytes, phrases: Sequence[Phrase]) -> list[TranscriptRow]:
    """Build the rows of a packed chunk. This takes a few milliseconds, so call it in a thread."""
    return transcript_rows(timed(unpack_tokens(packed)), phrases)


async def _hits(
    relay: Relay, job: Transcription, caller: Caller, view: TranscriptPageQuery
) -> list[dict[str, Any]]:
    if not view.q.strip():
        return []
    found = await search_transcripts(relay, caller, view.q, limit=HITS_SHOWN, transcription_id=job.id)
    return [{**asdict(hit), "snippet": snippet_parts(hit.snippet)} for hit in found.hits]
