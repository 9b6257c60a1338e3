"""/ui/search: words in all transcripts the visitor may see."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from service.api.auth import RelayOf
from service.api.listing import Text
from service.api.search import LONGEST_QUERY, HitPage, Search
from service.api.search import find as find_hits
from service.dashboard.links import first_page, page_at
from service.dashboard.render import render
from service.dashboard.snippets import marked
from service.dashboard.visitors import Reader
from service.store import transcription_queries

router = APIRouter()

HITS = 25


class Asked(BaseModel):
    """What to look for, as it stands in the address."""

    q: Annotated[Text, Field(max_length=LONGEST_QUERY)] = ""
    speaker: Annotated[Text, Field(max_length=100)] = ""
    cursor: str = ""


@router.get("/search")
async def find(request: Request, relay: RelayOf, visitor: Reader, asked: Annotated[Asked, Query()]) -> Response:
    found = HitPage(hits=[], next_page_cursor=None)
    if asked.q.strip():
        speakers = [asked.speaker] if asked.speaker else []
        sought = Search(q=asked.q, limit=HITS, cursor=asked.cursor, speaker=speakers)
        found = await find_hits(sought, visitor.caller, relay)
    names = await relay.db.read(
        lambda session: transcription_queries.filenames(session, {hit.transcription_id for hit in found.hits})
    )
    return render(
        request,
        "search.html",
        asked=asked,
        hits=[{**hit.model_dump(), "snippet": marked(hit.snippet)} for hit in found.hits],
        names=names,
        first=first_page(request),
        older=page_at(request, found.next_page_cursor) if found.next_page_cursor else "",
    )
