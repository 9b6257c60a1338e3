"""What can be read off Soniox's tokens, one by one or column by column, whatever they really hold."""

from collections.abc import Sequence
from functools import cached_property
from operator import itemgetter
from typing import Any

Token = dict[str, Any]

_LONGEST_MS = 2**31
_NUMBERS = {int, float}


def text_of(token: Token) -> str:
    """The token's text, empty when it has none."""
    return as_text(token.get("text"))


def as_text(value: Any) -> str:
    """The value itself if it is a string, an empty one otherwise."""
    return value if isinstance(value, str) else ""


def confidence_of(token: Token) -> float | None:
    """The confidence, None if there is none from 0 to 1. Soniox sends whole numbers too."""
    value: Any = token.get("confidence")
    return value if type(value) in _NUMBERS and 0 <= value <= 1 else None


def is_translation(token: Token) -> bool:
    """Whether the token is translated text rather than speech."""
    return token.get("translation_status") == "translation"


class Batch:
    """At least one token, seen column by column; a column is taken out only once."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self._columns: dict[str, list[Any]] = {}
        self._kinds: dict[str, set[type]] = {}

    def column(self, key: str) -> list[Any]:
        """What each token has under the key, None where it is absent."""
        if key not in self._columns:
            self._columns[key] = self._taken(key)
        return self._columns[key]

    def kinds(self, key: str) -> set[type]:
        """The types of what is in a column."""
        if key not in self._kinds:
            self._kinds[key] = set(map(type, self.column(key)))
        return self._kinds[key]

    def times(self, key: str) -> list[int | None]:
        """The column `start_ms` or `end_ms`, None where there is no time an audio file can have."""
        values = self.column(key)
        if self.kinds(key) == {int} and min(values) >= 0 and max(values) < _LONGEST_MS:
            return list(values)
        return [value if type(value) is int and 0 <= value < _LONGEST_MS else None for value in values]

    @cached_property
    def confidences(self) -> list[float]:
        """The confidences there are, from 0 to 1."""
        values = self.column("confidence")
        if self.kinds("confidence") <= _NUMBERS and min(values) >= 0 and max(values) <= 1:
            return values
        return [value for value in values if type(value) in _NUMBERS and 0 <= value <= 1]

    def strings(self, key: str) -> list[str]:
        """The strings in a column."""
        values = self.column(key)
        return values if self.kinds(key) == {str} else [value for value in values if type(value) is str]

    @cached_property
    def texts(self) -> list[str]:
        """The text of each token, empty where it has none."""
        values = self.column("text")
        return values if self.kinds("text") == {str} else list(map(as_text, values))

    @cached_property
    def text(self) -> str:
        """All texts joined."""
        return "".join(self.texts)

    def _taken(self, key: str) -> list[Any]:
        try:
            return list(map(itemgetter(key), self.tokens))
        except KeyError:
            return [token.get(key) for token in self.tokens]
