"""Words built from sub-word tokens, for search, word counts and subtitles.

A space before a token starts a word. In scripts without spaces each token is a word, except for punctuation and
combining marks, which stay with the character they belong to.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from service.transcripts.tokens import Batch, Timed, Token, confidence_of, is_translation, text_of, timed

SENTENCE_ENDS = (".", "!", "?", "…", "。", "！", "？", "؟", "۔", "।", "።")  # noqa: RUF001 - marks of many scripts

NO_SPACES = re.compile(
    "[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Tibetan, Burmese, Khmer
    "\u3000-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"  # East Asian punctuation, kana, Han
    "\uf900-\ufaff\uff01-\uff9f\U00020000-\U0003ffff]"  # compatibility Han, full- and half-width forms, rare Han
)
"""A character of a script that puts no spaces between words."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word with its punctuation. The times are effective times, None if unknown."""

    text: str
    start_ms: int | None
    end_ms: int | None
    speaker: str | None
    language: str | None
    confidence: float | None
    """Mean over the word's tokens."""
    translation: bool
    spaced: bool = True
    """Whether a space separates it from the word before."""


def words(tokens: Sequence[Token]) -> list[Word]:
    """Group tokens into words, in the order of the tokens. A word never mixes originals and translations."""
    return list(words_of(timed(tokens)))


def words_of(items: Iterable[Timed]) -> Iterator[Word]:
    """Group timed tokens into words lazily."""
    held: list[Timed] = []
    spaced = True
    for item in items:
        if held and (separation := _separation(held[-1], item)) is not None:
            yield from _word(held, spaced)
            held, spaced = [], separation
        held.append(item)
    yield from _word(held, spaced)


def count_words(batch: Batch) -> int:
    """Return the number of words. This is faster than `words` if the script has spaces."""
    if not batch.text.isascii() and NO_SPACES.search(batch.text):
        return len(words(batch.tokens))
    return len(batch.text.split())


def begins_word(before: str, text: str) -> bool:
    """Return whether `text` starts a new word after `before`, the text of the token before it."""
    return _is_spaced(before, text) or _may_part(before, text)


def _separation(before: Timed, item: Timed) -> bool | None:
    """Return True for a space between the tokens, False for a word boundary without one, None for neither.

    A change of speaker or language counts as a space.
    """
    left, right = text_of(before.token), text_of(item.token)
    if _is_spaced(left, right):
        return True
    if _may_part(left, right):
        return False
    return True if _voice(before) != _voice(item) else None


def _is_spaced(before: str, text: str) -> bool:
    return text[:1].isspace() or before[-1:].isspace()


def _may_part(before: str, text: str) -> bool:
    """Return whether a word may end between these texts in a script without spaces."""
    if not before or not text or (before.isascii() and text.isascii()):
        return False
    if not (NO_SPACES.match(before[-1]) or NO_SPACES.match(text[0])):
        return False
    clings = unicodedata.category(text[0])[0] == "M" or unicodedata.category(text[0]) in _CLOSING
    return not clings and unicodedata.category(before[-1]) not in _OPENING


_CLOSING = {"Po", "Pe", "Pf", "Pd", "Pc"}
_OPENING = {"Ps", "Pi"}


def _voice(item: Timed) -> tuple[Any, Any, bool]:
    return item.token.get("speaker"), item.token.get("language"), is_translation(item.token)


def _word(held: Sequence[Timed], spaced: bool) -> Iterator[Word]:
    """Yield the word of these tokens, or nothing if they contain only white space."""
    text = "".join(text_of(item.token) for item in held).strip()
    if not text:
        return
    speaker, language, translation = _voice(held[0])
    starts = [item.start_ms for item in held if item.start_ms is not None]
    ends = [item.end_ms for item in held if item.end_ms is not None]
    confidence = mean_confidence(item.token for item in held)
    start, end = min(starts, default=None), max(ends, default=None)
    yield Word(text, start, end, speaker, language, confidence, translation, spaced)


def mean_confidence(tokens: Iterable[Token]) -> float | None:
    """Return the mean of all valid confidences, or None if there are none."""
    known = [value for token in tokens if (value := confidence_of(token)) is not None]
    return sum(known) / len(known) if known else None
