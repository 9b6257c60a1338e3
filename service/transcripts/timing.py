"""When each token is spoken. Translations carry no times, so they share those of what they translate."""

from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby, pairwise
from typing import Any, NamedTuple, cast

from service.transcripts.tokens import Batch, Token, text_of

Times = list[int | None]


class Timed(NamedTuple):
    """A token with its effective times; None where nothing tells them."""

    token: Token
    start_ms: int | None
    end_ms: int | None


def timed(tokens: Sequence[Token]) -> list[Timed]:
    """Pair each token with its effective times."""
    return list(map(Timed, tokens, *effective_times(Batch(tokens)))) if tokens else []


def effective_times(batch: Batch) -> tuple[Times, Times]:
    """All start and all end times, in milliseconds.

    Speech keeps its own. A run of translation tokens divides, by length of text, the time from the
    first to the last of the originals right before it; its own times count only if they are not 0/0.
    """
    starts, ends = batch.times("start_ms"), batch.times("end_ms")
    for first, last in _translated_runs(batch.column("translation_status")):
        for place, (start, end) in enumerate(_shares(batch.tokens, starts, ends, first, last), first):
            if not ends[place]:
                starts[place], ends[place] = start, end
    return starts, ends


def known(times: Times) -> list[int]:
    """Those that there are."""
    return [time for time in times if time is not None] if None in times else cast("list[int]", times)


def _translated_runs(statuses: Sequence[Any]) -> Iterator[tuple[int, int]]:
    """Yield where each run of translation tokens begins, and where it has ended."""
    position = 0
    for status, run in groupby(statuses) if "translation" in statuses else ():
        length = len(list(run))
        if status == "translation":
            yield position, position + length
        position += length


def _shares(
    tokens: Sequence[Token], starts: Times, ends: Times, first: int, last: int
) -> Iterator[tuple[int | None, int | None]]:
    """Yield each translation token's share of its originals' time."""
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
    """When the originals right before a translation begin and end."""
    first = position
    while first and _same_status(tokens[first - 1], tokens[position - 1]):
        first -= 1
    begin = min((start for start in starts[first:position] if start is not None), default=None)
    finish = max((end for end in ends[first:position] if end is not None), default=begin)
    return begin, finish


def _same_status(token: Token, other: Token) -> bool:
    return bool(token.get("translation_status") == other.get("translation_status"))
