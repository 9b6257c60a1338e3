"""Passages: what search finds. One speaker's words in a row, about half a minute of them.

A long turn is cut behind a sentence if there is one to be found, else between two words.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby

from service.transcripts.folding import fold
from service.transcripts.timing import Times
from service.transcripts.tokens import Batch
from service.transcripts.words import SENTENCE_ENDS, begins_word

_SHORTEST_CUT = 100  # tokens
_LONGEST = 150  # tokens; a PostgreSQL tsvector knows 256 places of a word at most

Voice = tuple[str | None, bool]
"""Speaker, and whether it is translated text."""


@dataclass(frozen=True, slots=True)
class Passage:
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
    """Divides a transcript into passages, chunk after chunk."""

    def __init__(self) -> None:
        self._found: list[Passage] = []
        self._open: _Open | None = None

    def add(self, chunk: int, batch: Batch, starts: Times) -> None:
        """Take the next chunk's tokens, with their effective start times."""
        for voice, first, last in _turns(batch):
            if self._open is None or self._open.voice != voice:
                self._close()
                self._open = _Open(chunk, first, voice)
            self._open.spills = self._open.chunk != chunk
            self._open.texts += batch.texts[first:last]
            self._open.starts += starts[first:last]
            while len(self._open.texts) > _LONGEST:
                self._cut(chunk, last)

    def all(self) -> list[Passage]:
        """Those of all chunks taken."""
        self._close()
        return self._found

    def _cut(self, chunk: int, last: int) -> None:
        """Close the open passage early, and open one with the tokens left over, which end at `last`."""
        whole = self._open
        if whole is None:
            return
        place = _place(whole.texts)
        texts, starts = whole.texts[place:], whole.starts[place:]
        here = last - len(texts)  # where they begin in this chunk; less than 0 if they do so in the one before
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
        self._found.append(Passage(done.chunk, done.first_token, length, done.spills, start_ms, speaker, words))


def _turns(batch: Batch) -> Iterator[tuple[Voice, int, int]]:
    """Yield who speaks from which token to before which."""
    place = 0
    voices = zip(batch.column("speaker"), batch.column("translation_status"), strict=True)
    for (speaker, status), run in groupby(voices):
        length = len(list(run))
        yield (_label(speaker), status == "translation"), place, place + length
        place += length


def _label(speaker: object) -> str | None:
    """The speaker as text that both databases can hold."""
    return speaker.replace("\0", "") if isinstance(speaker, str) else None


def _place(texts: list[str]) -> int:
    """Where to cut: behind the last sentence that ends late enough, else before the last whole word."""
    last_word = None
    for n in range(_LONGEST, _SHORTEST_CUT - 1, -1):
        if begins_word(texts[n - 1], texts[n]):
            if texts[n - 1].rstrip().endswith(SENTENCE_ENDS):
                return n
            last_word = last_word or n
    return last_word or _LONGEST
