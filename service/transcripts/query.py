"""What a caller searches for: `words` that must all be there, `"phrases"`, and beginnings such as `transcr*`.

There is no query that is wrong: signs that mean nothing here are ignored.
"""

import re
from dataclasses import dataclass

from service.transcripts.folding import fold

SHORTEST_BEGINNING = 2
"""Letters; a star after fewer would find nearly everything, so it is ignored."""

_TERM = re.compile(r'"(?P<quoted>[^"]*)"?(?P<star>\*?)|(?P<plain>[^\s"]+)')
_QUOTES = str.maketrans("“”„", '"""')


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words that must follow one another; with `open_end` the last one is only the beginning of a word."""

    words: tuple[str, ...]
    open_end: bool = False


def parse(query: str) -> list[Phrase]:
    """The phrases that a passage must all contain; none if the query has neither letters nor digits.

    A term that has several words, such as `e-mail` or any in a script without spaces, is a phrase.
    """
    phrases = (_phrase(term) for term in _TERM.finditer(query.translate(_QUOTES)))
    return list(dict.fromkeys(phrase for phrase in phrases if phrase.words))


def _phrase(term: re.Match[str]) -> Phrase:
    plain = term["plain"] or ""
    words = fold(term["quoted"] or plain)
    starred = bool(term["star"]) or plain.endswith("*")
    return Phrase(tuple(words), starred and bool(words) and len(words[-1]) >= SHORTEST_BEGINNING)
