"""Word folding for search, and the query syntax."""

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
    """The folded form of each character, computed on first use."""

    def __missing__(self, code: int) -> str:
        self[code] = folded = "".join(map(_sorted, _plain(chr(code))))
        return folded


_folds = _Folds()


@dataclass(frozen=True, slots=True)
class Place:
    """A folded word with its position in the text."""

    word: str
    start: int
    end: int


def composed(text: str) -> str:
    """Return the text in Unicode form NFC, which `places` expects."""
    return unicodedata.normalize("NFC", text)


def fold(text: str) -> list[str]:
    """Return the folded words of a text."""
    return [word[:LONGEST_WORD] for word in composed(text).translate(_folds).split()]


def places(text: str) -> Iterator[Place]:
    """Yield the same words as `fold`, with their positions. `text` must be composed."""
    folded = [(letter, index) for index, character in enumerate(text) for letter in _folds[ord(character)]]
    for match in re.finditer(r"\S+", "".join(letter for letter, _ in folded)):
        yield Place(match[0][:LONGEST_WORD], folded[match.start()][1], folded[match.end() - 1][1] + 1)


def _plain(character: str) -> str:
    """Return a character without case and accents. The result may have several characters."""
    bare = _ACCENTS.sub("", unicodedata.normalize("NFKD", character.casefold()))
    return unicodedata.normalize("NFC", bare.casefold())


def _sorted(character: str) -> str:
    """Return a character as part of a word, as a separate word, as nothing, or as a space."""
    category = unicodedata.category(character)
    if character in _APOSTROPHES or category == "Cf":
        return ""
    if category[0] not in "LMN":
        return " "
    return f" {character} " if NO_SPACES.match(character) else character


SHORTEST_BEGINNING = 2
"""Letters; a star after fewer would find nearly everything, so it is ignored."""

_TERM = re.compile(r'"(?P<quoted>[^"]*)"?(?P<star>\*?)|(?P<plain>[^\s"]+)')
_QUOTES = str.maketrans("“”„", '"""')


@dataclass(frozen=True, slots=True)
class Phrase:
    """Consecutive words. With `open_end`, the last one is a prefix."""

    words: tuple[str, ...]
    open_end: bool = False


def parse(query: str) -> list[Phrase]:
    """Return the phrases that a passage must all contain. Empty if the query has neither letters nor digits.

    A term with several words, such as `e-mail` or a term in a script without spaces, is a phrase.
    """
    phrases = (_phrase(term) for term in _TERM.finditer(query.translate(_QUOTES)))
    return list(dict.fromkeys(phrase for phrase in phrases if phrase.words))


def _phrase(term: re.Match[str]) -> Phrase:
    plain = term["plain"] or ""
    words = fold(term["quoted"] or plain)
    starred = bool(term["star"]) or plain.endswith("*")
    return Phrase(tuple(words), starred and bool(words) and len(words[-1]) >= SHORTEST_BEGINNING)
