"""Typed access to Soniox's tokens, one by one or by column. Values of unexpected types count as missing."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate, groupby, pairwise
from operator import itemgetter
from typing import Any, NamedTuple, cast

Token = dict[str, Any]

_LONGEST_MS = 2**31
_NUMBERS = {int, float}


def text_of(token: Token) -> str:
    """Return the text of a token, or an empty string if it has none."""
    return as_text(token.get("text"))


def as_text(value: Any) -> str:
    """Return the value if it is a string, else an empty string."""
    return value if isinstance(value, str) else ""


def confidence_of(token: Token) -> float | None:
    """Return the confidence from 0 to 1, None if it is missing or invalid. Soniox also sends integers."""
    value: Any = token.get("confidence")
    return value if type(value) in _NUMBERS and 0 <= value <= 1 else None


def is_translation(token: Token) -> bool:
    """Return whether the token is translated text, not speech."""
    return token.get("translation_status") == "translation"


class Batch:
    """Column access to at least one token. Each column is extracted once and cached."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self._columns: dict[str, list[Any]] = {}
        self._kinds: dict[str, set[type]] = {}

    def column(self, key: str) -> list[Any]:
        """Return the value of each token for `key`, None if it is absent."""
        if key not in self._columns:
            self._columns[key] = self._taken(key)
        return self._columns[key]

    def kinds(self, key: str) -> set[type]:
        """Return the types of the values in a column."""
        if key not in self._kinds:
            self._kinds[key] = set(map(type, self.column(key)))
        return self._kinds[key]

    def times(self, key: str) -> list[int | None]:
        """Return the column `start_ms` or `end_ms`, with None for values that are no valid audio time."""
        values = self.column(key)
        if self.kinds(key) == {int} and min(values) >= 0 and max(values) < _LONGEST_MS:
            return list(values)
        return [value if type(value) is int and 0 <= value < _LONGEST_MS else None for value in values]

    @cached_property
    def confidences(self) -> list[float]:
        """All valid confidences, from 0 to 1."""
        values = self.column("confidence")
        if self.kinds("confidence") <= _NUMBERS and min(values) >= 0 and max(values) <= 1:
            return values
        return [value for value in values if type(value) in _NUMBERS and 0 <= value <= 1]

    def strings(self, key: str) -> list[str]:
        """Return the strings in a column."""
        values = self.column(key)
        return values if self.kinds(key) == {str} else [value for value in values if type(value) is str]

    @cached_property
    def texts(self) -> list[str]:
        """The text of each token, empty if it has none."""
        values = self.column("text")
        return values if self.kinds("text") == {str} else list(map(as_text, values))

    @cached_property
    def text(self) -> str:
        """The joined texts of all tokens."""
        return "".join(self.texts)

    def _taken(self, key: str) -> list[Any]:
        try:
            return list(map(itemgetter(key), self.tokens))
        except KeyError:
            return [token.get(key) for token in self.tokens]


Times = list[int | None]


class Timed(NamedTuple):
    """A token with its effective times, None if unknown."""

    token: Token
    start_ms: int | None
    end_ms: int | None


def timed(tokens: Sequence[Token]) -> list[Timed]:
    """Pair each token with its effective times."""
    return list(map(Timed, tokens, *effective_times(Batch(tokens)))) if tokens else []


def effective_times(batch: Batch) -> tuple[Times, Times]:
    """Return all start times and all end times, in milliseconds.

    Speech keeps its own times. A run of translation tokens shares the time span of the originals right before
    it, in proportion to the length of the texts. The own times of a translation count only if they are not 0/0.
    """
    starts, ends = batch.times("start_ms"), batch.times("end_ms")
    for first, last in _translated_runs(batch.column("translation_status")):
        for place, (start, end) in enumerate(_shares(batch.tokens, starts, ends, first, last), first):
            if not ends[place]:
                starts[place], ends[place] = start, end
    return starts, ends


def known(times: Times) -> list[int]:
    """Return the times that are not None."""
    return [time for time in times if time is not None] if None in times else cast("list[int]", times)


def _translated_runs(statuses: Sequence[Any]) -> Iterator[tuple[int, int]]:
    """Yield the start and the end (exclusive) of each run of translation tokens."""
    position = 0
    for status, run in groupby(statuses) if "translation" in statuses else ():
        length = len(list(run))
        if status == "translation":
            yield position, position + length
        position += length


def _shares(
    tokens: Sequence[Token], starts: Times, ends: Times, first: int, last: int
) -> Iterator[tuple[int | None, int | None]]:
    """Yield the share of each translation token in the time of its originals."""
    begin, finish = _span_before(tokens, starts, ends, first)
    if begin is None or finish is None:
        yield from [(None, None)] * (last - first)
        return
    lengths = [len(text_of(token)) for token in tokens[first:last]]
    total = sum(lengths) or 1
    edges = [begin + (finish - begin) * part // total for part in accumulate(lengths, initial=0)]
    yield from pairwise(edges)


def _span_before(
    tokens: Sequence[Token], starts: Times, ends: Times, position: int
) -> tuple[int | None, int | None]:
    """Return when the originals right before a translation begin and end."""
    first = position
    while first and _same_status(tokens[first - 1], tokens[position - 1]):
        first -= 1
    begin = min((start for start in starts[first:position] if start is not None), default=None)
    finish = max((end for end in ends[first:position] if end is not None), default=begin)
    return begin, finish


def _same_status(token: Token, other: Token) -> bool:
    return bool(token.get("translation_status") == other.get("translation_status"))
