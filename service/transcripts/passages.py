"""Passages, the units of search, and the matches within them."""

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, groupby

from service.transcripts.columns import unpack_slice
from service.transcripts.search_terms import Phrase, Place, composed, fold, places
from service.transcripts.tokens import Batch, Timed, Times, as_text, is_translation, text_of, timed
from service.transcripts.words import SENTENCE_ENDS, begins_word

_SHORTEST_CUT = 100  # tokens
_LONGEST = 150  # tokens; a PostgreSQL tsvector holds at most 256 positions per word

Voice = tuple[str | None, bool]
"""Speaker, and whether it is translated text."""


@dataclass(frozen=True, slots=True)
class PassageDraft:
    """A passage of at least one word."""

    chunk: int
    """Position of the chunk it begins in."""
    first_token: int
    """Its place in that chunk."""
    token_count: int
    spills: bool
    """Whether it ends in the next chunk."""
    start_ms: int | None
    speaker: str | None
    words: list[str]
    """As `fold` gives them."""


@dataclass(slots=True)
class _Open:
    """A passage that may still grow."""

    chunk: int
    first_token: int
    voice: Voice
    texts: list[str] = field(default_factory=list)
    starts: Times = field(default_factory=list)
    spills: bool = False


class Passages:
    """Divides a transcript into passages, chunk by chunk."""

    def __init__(self) -> None:
        self._found: list[PassageDraft] = []
        self._open: _Open | None = None

    def add(self, chunk: int, batch: Batch, starts: Times) -> None:
        """Add the tokens of the next chunk, with their effective start times."""
        for voice, first, last in _turns(batch):
            if self._open is None or self._open.voice != voice:
                self._close()
                self._open = _Open(chunk, first, voice)
            self._open.spills = self._open.chunk != chunk
            self._open.texts += batch.texts[first:last]
            self._open.starts += starts[first:last]
            while len(self._open.texts) > _LONGEST:
                self._cut(chunk, last)

    def all(self) -> list[PassageDraft]:
        """Those of all chunks taken."""
        self._close()
        return self._found

    def _cut(self, chunk: int, last: int) -> None:
        """Close the open passage early, and open one with the remaining tokens, which end at `last`."""
        whole = self._open
        if whole is None:
            return
        place = _place(whole.texts)
        texts, starts = whole.texts[place:], whole.starts[place:]
        here = last - len(texts)  # their start in this chunk; negative if they begin in the chunk before
        if here >= 0:
            rest = _Open(chunk, here, whole.voice, texts, starts)
        else:
            rest = _Open(whole.chunk, whole.first_token + place, whole.voice, texts, starts, spills=True)
        whole.texts, whole.starts, whole.spills = (
            whole.texts[:place],
            whole.starts[:place],
            whole.spills and here > 0,
        )
        self._close()
        self._open = rest

    def _close(self) -> None:
        done, self._open = self._open, None
        if done is None or not (words := fold("".join(done.texts))):
            return
        start_ms = next((start for start in done.starts if start is not None), None)
        length, speaker = len(done.texts), done.voice[0]
        self._found.append(
            PassageDraft(done.chunk, done.first_token, length, done.spills, start_ms, speaker, words)
        )


def _turns(batch: Batch) -> Iterator[tuple[Voice, int, int]]:
    """Yield the voice of each turn, its first token and the token after its last."""
    place = 0
    voices = zip(batch.column("speaker"), batch.column("translation_status"), strict=True)
    for (speaker, status), run in groupby(voices):
        length = len(list(run))
        yield (_label(speaker), status == "translation"), place, place + length
        place += length


def _label(speaker: object) -> str | None:
    """Return the speaker without NUL characters, which PostgreSQL cannot store. None if it is no string."""
    return speaker.replace("\0", "") if isinstance(speaker, str) else None


def _place(texts: list[str]) -> int:
    """Return where to cut: after the last sentence past `_SHORTEST_CUT`, else before the last whole word."""
    last_word = None
    for n in range(_LONGEST, _SHORTEST_CUT - 1, -1):
        if begins_word(texts[n - 1], texts[n]):
            if texts[n - 1].rstrip().endswith(SENTENCE_ENDS):
                return n
            last_word = last_word or n
    return last_word or _LONGEST


_BEFORE = 60  # characters of a snippet before the match
_AFTER = 120

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class PassageHit:
    """The first match in a passage."""

    start_ms: int | None
    """When the matched words begin."""
    end_ms: int | None
    language: str | None
    translation: bool
    snippet: str
    """HTML: the text escaped, every match in `<mark>`."""


def hit_in(chunks: Sequence[bytes], first: int, count: int, phrases: Sequence[Phrase]) -> PassageHit:
    """Look at `count` tokens from `first` on, in the packed chunk they begin in and the next if they spill."""
    items = _items(chunks, first, first + count)
    text = composed("".join(text_of(item.token) for item in items))
    spans = matches(text, phrases) or [(0, 0)]
    ends = list(accumulate(len(composed(text_of(item.token))) for item in items))
    begins, finishes = (next((n for n, end in enumerate(ends) if end >= edge), 0) for edge in _inside(spans[0]))
    token = items[begins].token
    return PassageHit(
        start_ms=items[begins].start_ms,
        end_ms=items[finishes].end_ms,
        language=as_text(token.get("language")) or None,
        translation=is_translation(token),
        snippet=snippet(text, spans),
    )


def matches(text: str, phrases: Sequence[Phrase]) -> list[Span]:
    """Return the spans of the phrases in a composed text, sorted. Overlapping or adjacent spans are merged."""
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
    """Return the text around the first span as HTML, with all spans in it marked."""
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
    """Return the tokens with their times. A translation takes its times from earlier tokens of the chunk."""
    tokens = unpack_slice(chunks[0], first, last)
    if is_translation(tokens[0]):
        return timed(unpack_slice(chunks[0], 0, last))[first:]
    missing = last - first - len(tokens)
    return timed([*tokens, *(token for data in chunks[1:] for token in unpack_slice(data, 0, missing))])


def _inside(span: Span) -> Span:
    """Return the number of characters up to and including the first and the last one of the span."""
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
    """Return the span to show: some characters on both sides, cut at spaces if there are any."""
    first, last = max(0, span[0] - _BEFORE), min(len(text), span[1] + _AFTER)
    if first and (gap := text.find(" ", first, span[0])) >= 0:
        first = gap + 1
    if last < len(text) and (gap := text.rfind(" ", span[1], last)) >= 0:
        last = gap
    return first, last


def _escaped(text: str) -> str:
    return html.escape(text, quote=False)
