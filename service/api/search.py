"""Search: find words in all transcripts that the caller may see."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from service.api.deps import SEVERAL, Reader, RelayDep, comma_list, invalid_query
from service.api.pagination import NextCursor, Text, decode_cursor, encode_cursor
from service.api.responses import COMMON_RESPONSES
from service.ids import is_uuid
from service.schemas import Open, Uuid
from service.services.search import search_transcripts

router = APIRouter(prefix="/v1", tags=["Search"], responses=COMMON_RESPONSES)

MAX_QUERY = 256  # characters


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


class HitPublic(Open):
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

    hits: list[HitPublic]
    next_page_cursor: NextCursor


@router.get("/search", summary="Search the transcripts")
async def find(asked: Annotated[SearchRequest, Query()], caller: Reader, relay: RelayDep) -> HitPage:
    if not asked.q.strip():
        raise invalid_query("q", "must have something to look for")
    found = await search_transcripts(
        relay,
        caller,
        asked.q,
        limit=asked.limit,
        before=decode_cursor(asked.cursor),
        speakers=comma_list(asked.speaker),
        transcription_id=_known_form(asked.transcription_id),
    )
    more = encode_cursor(*found.last) if found.last else None
    return HitPage(hits=[HitPublic.model_validate(asdict(hit)) for hit in found.hits], next_page_cursor=more)


def _known_form(transcription_id: str | None) -> str | None:
    if transcription_id is not None and not is_uuid(transcription_id):
        raise invalid_query("transcription_id", "is not an id")
    return transcription_id.lower() if transcription_id else None
