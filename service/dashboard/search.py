"""/ui/search: full-text search in all transcripts that the visitor may see."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from service.api.deps import RelayDep, comma_list
from service.api.pagination import Text, decode_cursor, encode_cursor
from service.api.search import MAX_QUERY
from service.dashboard.render import first_page, page_at, render, snippet_parts
from service.dashboard.session import ReaderSession
from service.services.search import search_transcripts
from service.store import transcription_queries

router = APIRouter()

HITS = 25


class SearchQuery(BaseModel):
    """The search parameters in the query string."""

    q: Annotated[Text, Field(max_length=MAX_QUERY)] = ""
    speaker: Annotated[Text, Field(max_length=100)] = ""
    cursor: str = ""


@router.get("/search")
async def find(
    request: Request, relay: RelayDep, visitor: ReaderSession, asked: Annotated[SearchQuery, Query()]
) -> Response:
    found = await search_transcripts(
        relay,
        visitor.caller,
        asked.q,
        limit=HITS,
        before=decode_cursor(asked.cursor),
        speakers=comma_list([asked.speaker]),
    )
    names = await relay.db.read(
        lambda session: transcription_queries.filenames(session, {hit.transcription_id for hit in found.hits})
    )
    return render(
        request,
        "search.html",
        asked=asked,
        hits=[{**asdict(hit), "snippet": snippet_parts(hit.snippet)} for hit in found.hits],
        names=names,
        first=first_page(request),
        older=page_at(request, encode_cursor(*found.last)) if found.last else "",
    )
