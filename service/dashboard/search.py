"""/ui/search: words in all transcripts the visitor may see."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from service.api.deps import RelayDep
from service.api.pagination import Text
from service.api.search import MAX_QUERY, HitPage, SearchRequest
from service.api.search import find as find_hits
from service.dashboard.render import first_page, page_at, render, snippet_parts
from service.dashboard.session import ReaderSession
from service.store import transcription_queries

router = APIRouter()

HITS = 25


class SearchQuery(BaseModel):
    """What to look for, as it stands in the address."""

    q: Annotated[Text, Field(max_length=MAX_QUERY)] = ""
    speaker: Annotated[Text, Field(max_length=100)] = ""
    cursor: str = ""


@router.get("/search")
async def find(
    request: Request, relay: RelayDep, visitor: ReaderSession, asked: Annotated[SearchQuery, Query()]
) -> Response:
    found = HitPage(hits=[], next_page_cursor=None)
    if asked.q.strip():
        speakers = [asked.speaker] if asked.speaker else []
        sought = SearchRequest(q=asked.q, limit=HITS, cursor=asked.cursor, speaker=speakers)
        found = await find_hits(sought, visitor.caller, relay)
    names = await relay.db.read(
        lambda session: transcription_queries.filenames(session, {hit.transcription_id for hit in found.hits})
    )
    return render(
        request,
        "search.html",
        asked=asked,
        hits=[{**hit.model_dump(), "snippet": snippet_parts(hit.snippet)} for hit in found.hits],
        names=names,
        first=first_page(request),
        older=page_at(request, found.next_page_cursor) if found.next_page_cursor else "",
    )
