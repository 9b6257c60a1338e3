"""Words as search compares them: without case, accents, punctuation, or differences of form.

Both databases are given these words instead of text, so both find the same. A script that is written without
spaces has no words to go by: there each character is one, and what is searched for is a phrase of them.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from service.transcripts.words import NO_SPACES

LONGEST_WORD = 64
"""Letters; what comes after them is not compared."""

_ACCENTS = re.compile("[\u0300-\u036f\u0591-\u05c7\u0640\u064b-\u065f\u0670]")  # Latin, Hebrew, Arabic
_APOSTROPHES = "'’ʼ＇"  # noqa: RUF001 - a word goes on after any of them


class _Folds(dict[int, str]):
    """What becomes of each character, found out when it is first met."""

    def __missing__(self, code: int) -> str:
        self[code] = folded = "".join(map(_sorted, _plain(chr(code))))
        return folded


_folds = _Folds()


@dataclass(frozen=True, slots=True)
class Place:
    """A folded word and where it stands in the text."""

    word: str
    start: int
    end: int


def composed(text: str) -> str:
    """The text with accents joined to their letters, which `fold` and `places` expect."""
    return unicodedata.normalize("NFC", text)


def fold(text: str) -> list[str]:
    """The words of a text."""
    return [word[:LONGEST_WORD] for word in composed(text).translate(_folds).split()]


def places(text: str) -> Iterator[Place]:
    """The same words as `fold` gives, with their places; `text` must be composed."""
    folded = [(letter, index) for index, character in enumerate(text) for letter in _folds[ord(character)]]
    for match in re.finditer(r"\S+", "".join(letter for letter, _ in folded)):
        yield Place(match[0][:LONGEST_WORD], folded[match.start()][1], folded[match.end() - 1][1] + 1)


def _plain(character: str) -> str:
    """A character in its simplest form, which may be several."""
    bare = _ACCENTS.sub("", unicodedata.normalize("NFKD", character.casefold()))
    return unicodedata.normalize("NFC", bare.casefold())


def _sorted(character: str) -> str:
    """A character as part of a word, as a word of its own, as nothing, or as a gap between words."""
    category = unicodedata.category(character)
    if character in _APOSTROPHES or category == "Cf":
        return ""
    if category[0] not in "LMN":
        return " "
    return f" {character} " if NO_SPACES.match(character) else character
