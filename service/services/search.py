"""Search: words in all transcripts that a caller may read."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from service.relay import Relay
from service.services.keys import Caller
from service.store import search, transcripts
from service.store.search import Wanted
from service.tables import Passage
from service.transcripts.passages import hit_in
from service.transcripts.search_terms import Phrase, parse

Chunks = dict[tuple[str, int], bytes]


@dataclass(frozen=True)
class SearchHit:
    """Where something was said. `snippet` is HTML: the text escaped, every match in `<mark>`."""

    transcription_id: str
    start_ms: int | None
    end_ms: int | None
    speaker: str | None
    language: str | None
    translation: bool
    snippet: str


@dataclass(frozen=True)
class SearchPage:
    """Hits, those in the newest transcripts first; `last` is the position to go on from, None at the end."""

    hits: list[SearchHit]
    last: tuple[int, str] | None


async def search_transcripts(
    relay: Relay,
    caller: Caller,
    query: str,
    *,
    limit: int,
    before: tuple[int, str] | None = None,
    speakers: tuple[str, ...] = (),
    transcription_id: str | None = None,
) -> SearchPage:
    """Find `query` in transcripts that `caller` may read, from position `before` on."""
    wanted = Wanted(
        phrases=parse(query),
        limit=limit + 1,
        owner=caller.sees,
        speakers=speakers,
        transcription_id=transcription_id,
        before_id=before[0] if before else None,
    )
    if not wanted.phrases:
        return SearchPage([], None)
    found = await relay.db.read(lambda session: search.find(session, wanted))
    page = found[:limit]
    last = (page[-1].id or 0, page[-1].transcription_id) if len(found) > limit else None
    return SearchPage(await _hits(relay, page, wanted.phrases), last)


async def _hits(relay: Relay, passages: Sequence[Passage], phrases: Sequence[Phrase]) -> list[SearchHit]:
    """Return the hits of passages; without those whose transcript was deleted in between."""
    chunks = await relay.db.read(lambda session: transcripts.chunks_of(session, passages))
    hits = []
    for passage in passages:
        if (passage.transcription_id, passage.chunk) in chunks:
            hits.append(_hit(passage, chunks, phrases))
        await asyncio.sleep(0)  # unpacking takes time: let other requests run
    return hits


def _hit(passage: Passage, chunks: Chunks, phrases: Sequence[Phrase]) -> SearchHit:
    positions = (passage.chunk, passage.chunk + 1)
    packed = [chunks[key] for position in positions if (key := (passage.transcription_id, position)) in chunks]
    hit = hit_in(packed, passage.first_token, passage.token_count, phrases)
    return SearchHit(
        transcription_id=passage.transcription_id,
        start_ms=passage.start_ms if hit.start_ms is None else hit.start_ms,
        end_ms=hit.end_ms,
        speaker=passage.speaker,
        language=hit.language,
        translation=hit.translation,
        snippet=hit.snippet,
    )
