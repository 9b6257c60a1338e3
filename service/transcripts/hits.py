"""Where in a passage the words are that were searched for: the time, and a snippet to show."""

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from service.transcripts.folding import Place, composed, places
from service.transcripts.query import Phrase
from service.transcripts.table import unpack_slice
from service.transcripts.timing import Timed, timed
from service.transcripts.tokens import as_text, is_translation, text_of

_BEFORE = 60  # characters of a snippet before the match
_AFTER = 120

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Hit:
    """The first match in a passage."""

    start_ms: int | None
    """When the matched words begin."""
    end_ms: int | None
    language: str | None
    translation: bool
    snippet: str
    """HTML: the text escaped, every match in `<mark>`."""


def hit_in(chunks: Sequence[bytes], first: int, count: int, phrases: Sequence[Phrase]) -> Hit:
    """Look at `count` tokens from `first` on, in the packed chunk they begin in and the next if they spill."""
    items = _items(chunks, first, first + count)
    text = composed("".join(text_of(item.token) for item in items))
    spans = matches(text, phrases) or [(0, 0)]
    ends = list(accumulate(len(composed(text_of(item.token))) for item in items))
    begins, finishes = (next((n for n, end in enumerate(ends) if end >= edge), 0) for edge in _inside(spans[0]))
    token = items[begins].token
    return Hit(
        start_ms=items[begins].start_ms,
        end_ms=items[finishes].end_ms,
        language=as_text(token.get("language")) or None,
        translation=is_translation(token),
        snippet=snippet(text, spans),
    )


def matches(text: str, phrases: Sequence[Phrase]) -> list[Span]:
    """Where the phrases stand in a composed text, in order; those that touch are one."""
    words = list(places(text))
    found = sorted(span for phrase in phrases for span in _found(words, phrase))
    joined: list[Span] = []
    for start, end in found:
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return joined


def snippet(text: str, spans: Sequence[Span]) -> str:
    """The text around the first span, as HTML with all spans in it marked."""
    first, last = _window(text, spans[0])
    pieces = ["…"] if text[:first].strip() else []
    place = first
    for start, end in spans:
        if start < end <= last:
            pieces += [_escaped(text[place:start]), "<mark>", _escaped(text[start:end]), "</mark>"]
            place = end
    pieces.append(_escaped(text[place:last]))
    pieces += ["…"] if text[last:].strip() else []
    return "".join(pieces).strip()


def _items(chunks: Sequence[bytes], first: int, last: int) -> list[Timed]:
    """The tokens with their times; those of a translation come from what is before it in the chunk."""
    tokens = unpack_slice(chunks[0], first, last)
    if is_translation(tokens[0]):
        return timed(unpack_slice(chunks[0], 0, last))[first:]
    missing = last - first - len(tokens)
    return timed([*tokens, *(token for data in chunks[1:] for token in unpack_slice(data, 0, missing))])


def _inside(span: Span) -> Span:
    """How many characters there are up to the span's first and last one, these included."""
    return span[0] + 1, max(span)


def _found(words: Sequence[Place], phrase: Phrase) -> Iterator[Span]:
    length = len(phrase.words)
    for n in range(len(words) - length + 1):
        here = words[n : n + length]
        if _is(here, phrase):
            yield here[0].start, here[-1].end


def _is(here: Sequence[Place], phrase: Phrase) -> bool:
    *whole, last = phrase.words
    if any(place.word != word for place, word in zip(here, whole, strict=False)):
        return False
    return here[-1].word.startswith(last) if phrase.open_end else here[-1].word == last


def _window(text: str, span: Span) -> Span:
    """From where to where to show: some characters on both sides, whole words where there are spaces."""
    first, last = max(0, span[0] - _BEFORE), min(len(text), span[1] + _AFTER)
    if first and (gap := text.find(" ", first, span[0])) >= 0:
        first = gap + 1
    if last < len(text) and (gap := text.rfind(" ", span[1], last)) >= 0:
        last = gap
    return first, last


def _escaped(text: str) -> str:
    return html.escape(text, quote=False)
