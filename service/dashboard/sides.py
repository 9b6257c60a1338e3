"""A stretch of a transcript as a page shows it: turns by speaker, and beside each what it was translated to. Pure.

Tokens stay what they are: each keeps its own time and confidence for whoever points at it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, groupby

from service.transcripts.folding import composed
from service.transcripts.hits import matches
from service.transcripts.query import Phrase
from service.transcripts.timing import Timed
from service.transcripts.tokens import confidence_of, is_translation, text_of


@dataclass(frozen=True)
class Piece:
    """A token: what it says, when, how sure; `hit` where it is part of what was searched for."""

    text: str
    start_ms: int | None
    end_ms: int | None
    confidence: float | None
    hit: bool = False


@dataclass(frozen=True)
class Saying:
    """Tokens of one language in a row."""

    language: str | None
    pieces: list[Piece]


@dataclass
class Row:
    """What one speaker says, and beside it its translation; `goes_on`: the row before has the same speaker."""

    speaker: str | None
    start_ms: int | None = None
    goes_on: bool = False
    said: list[Saying] = field(default_factory=list)
    translated: list[Saying] = field(default_factory=list)


def rows_of(items: Sequence[Timed], phrases: Sequence[Phrase] = ()) -> list[Row]:
    """The rows of a page."""
    rows: list[Row] = []
    for (speaker, translated), run in groupby(items, key=_voice):
        tokens = list(run)
        row = rows[-1] if rows else None
        if row is None or row.speaker != speaker or not translated or row.translated:
            row = Row(speaker, tokens[0].start_ms, goes_on=bool(rows) and rows[-1].speaker == speaker)
            rows.append(row)
        sayings = _sayings(tokens, phrases)
        if translated:
            row.translated = sayings
        else:
            row.said = sayings
    return rows


def _voice(item: Timed) -> tuple[str | None, bool]:
    speaker = item.token.get("speaker")
    return None if speaker is None else str(speaker), is_translation(item.token)


def _sayings(items: Sequence[Timed], phrases: Sequence[Phrase]) -> list[Saying]:
    hits = _hits(items, phrases) if phrases else [False] * len(items)
    pieces = [_piece(item, hit) for item, hit in zip(items, hits, strict=True)]
    told = groupby(zip(items, pieces, strict=True), key=lambda pair: _language(pair[0]))
    return [Saying(language, [piece for _, piece in pairs]) for language, pairs in told]


def _language(item: Timed) -> str | None:
    language = item.token.get("language")
    return None if language is None else str(language)


def _piece(item: Timed, hit: bool) -> Piece:
    return Piece(text_of(item.token), item.start_ms, item.end_ms, confidence_of(item.token), hit)


def _hits(items: Sequence[Timed], phrases: Sequence[Phrase]) -> list[bool]:
    """Which tokens are part of a match; a match may begin or end in the middle of one."""
    texts = [composed(text_of(item.token)) for item in items]
    spans = matches("".join(texts), phrases)
    return [any(begin < last and end > first for begin, end in spans) for first, last in _edges(texts)]


def _edges(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    first = 0
    for last in accumulate(map(len, texts)):
        yield first, last
        first = last
