"""Search: words in all transcripts the caller may see."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from service.api.deps import SEVERAL, Reader, RelayDep, comma_list, invalid_query
from service.api.pagination import NextCursor, Text, decode_cursor, encode_cursor
from service.api.responses import COMMON_RESPONSES
from service.ids import is_uuid
from service.relay import Relay
from service.schemas import Open, Uuid
from service.services.keys import Caller
from service.store import search, transcripts
from service.store.search import Wanted
from service.tables import Passage
from service.transcripts.passages import hit_in
from service.transcripts.search_terms import Phrase, parse

router = APIRouter(prefix="/v1", tags=["Search"], responses=COMMON_RESPONSES)

MAX_QUERY = 256  # characters

Chunks = dict[tuple[str, int], bytes]


class SearchRequest(BaseModel):
    """What to look for."""

    q: str = Field(
        max_length=MAX_QUERY,
        description='Words that are said together, `"phrases"`, and beginnings of words such as `transcr*`. '
        "Case and accents make no difference.",
    )
    limit: int = Field(20, ge=1, le=100, description="Most hits of this page.")
    cursor: str = Field("", description="`next_page_cursor` of the page before.")
    speaker: list[Text] = Field([], description=f"Only these speakers. {SEVERAL}")
    transcription_id: str | None = Field(None, description="Only this transcription.")


class Hit(Open):
    """Where something was said."""

    transcription_id: Uuid
    start_ms: int | None
    end_ms: int | None
    speaker: str | None
    language: str | None
    translation: bool
    snippet: str = Field(description="HTML: the text escaped, every match in `<mark>`.")


class HitPage(Open):
    """Some hits, those in the newest transcripts first."""

    hits: list[Hit]
    next_page_cursor: NextCursor


@router.get("/search", summary="Search the transcripts")
async def find(asked: Annotated[SearchRequest, Query()], caller: Reader, relay: RelayDep) -> HitPage:
    if not asked.q.strip():
        raise invalid_query("q", "must have something to look for")
    wanted = _wanted(asked, caller)
    if not wanted.phrases:
        return HitPage(hits=[], next_page_cursor=None)
    found = await relay.db.read(lambda session: search.find(session, wanted))
    page = found[: asked.limit]
    more = encode_cursor(page[-1].id, page[-1].transcription_id) if len(found) > asked.limit else None
    return HitPage(hits=await _hits(relay, page, wanted.phrases), next_page_cursor=more)


def _wanted(asked: SearchRequest, caller: Caller) -> Wanted:
    """Raises InvalidCursorError."""
    position = decode_cursor(asked.cursor)
    return Wanted(
        phrases=parse(asked.q),
        limit=asked.limit + 1,
        owner=caller.sees,
        speakers=comma_list(asked.speaker),
        transcription_id=_known_form(asked.transcription_id),
        before_id=position[0] if position else None,
    )


def _known_form(transcription_id: str | None) -> str | None:
    if transcription_id is not None and not is_uuid(transcription_id):
        raise invalid_query("transcription_id", "is not an id")
    return transcription_id.lower() if transcription_id else None


async def _hits(relay: Relay, passages: Sequence[Passage], phrases: Sequence[Phrase]) -> list[Hit]:
    """The hits as the caller reads them; those whose transcript was deleted meanwhile are left out."""
    chunks = await relay.db.read(lambda session: transcripts.chunks_of(session, passages))
    hits = []
    for passage in passages:
        if (passage.transcription_id, passage.chunk) in chunks:
            hits.append(_hit(passage, chunks, phrases))
        await asyncio.sleep(0)  # unpacking is work: others get their turn
    return hits


def _hit(passage: Passage, chunks: Chunks, phrases: Sequence[Phrase]) -> Hit:
    positions = (passage.chunk, passage.chunk + 1)
    packed = [chunks[key] for position in positions if (key := (passage.transcription_id, position)) in chunks]
    hit = hit_in(packed, passage.first_token, passage.token_count, phrases)
    return Hit(
        transcription_id=passage.transcription_id,
        start_ms=passage.start_ms if hit.start_ms is None else hit.start_ms,
        end_ms=hit.end_ms,
        speaker=passage.speaker,
        language=hit.language,
        translation=hit.translation,
        snippet=hit.snippet,
    )
