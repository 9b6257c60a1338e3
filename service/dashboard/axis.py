"""A time axis in percent of a picture's width. Pure.

A job that is done in seconds is drawn to scale. One whose deliveries are tried again for days is not: everything
that was quick would be less than a pixel. There each stretch between two moments is given the logarithm of its
length instead, and the ticks tell the true times.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import log1p

from service.dashboard.words import span

TO_SCALE_UP_TO_MS = 180_000
QUICK_MS = 20  # a stretch like this is still seen on an axis that is not to scale
TICKS_APART = 14.0  # percent


@dataclass(frozen=True)
class Tick:
    """A moment on the axis: where, and how long after the beginning."""

    x: float
    label: str


@dataclass(frozen=True)
class Axis:
    """`edges` are moments in rising order (ms), `places` where they stand, from 0 to 100."""

    edges: tuple[int, ...]
    places: tuple[float, ...]
    to_scale: bool

    @classmethod
    def over(cls, moments: Iterable[int]) -> "Axis":
        """The axis from the first of at least one moment to the last."""
        edges = sorted(set(moments))
        if len(edges) == 1:
            edges.append(edges[0] + 1)
        to_scale = edges[-1] - edges[0] <= TO_SCALE_UP_TO_MS
        lengths = [after - before for before, after in pairwise(edges)]
        widths = [length if to_scale else log1p(length / QUICK_MS) for length in lengths]
        places = accumulate(widths, initial=0.0)
        return cls(tuple(edges), tuple(100 * place / sum(widths) for place in places), to_scale)

    def x(self, at_ms: int) -> float:
        """Where a moment stands; what is outside stands at the edge."""
        after = min(max(bisect_right(self.edges, at_ms), 1), len(self.edges) - 1)
        first, last = self.edges[after - 1], self.edges[after]
        left, right = self.places[after - 1], self.places[after]
        x = left + (right - left) * (at_ms - first) / (last - first)
        return round(min(max(x, 0.0), 100.0), 3)

    def ticks(self) -> list[Tick]:
        """As many as can be read: even steps on a scale, else moments at which something happened."""
        begin, end = self.edges[0], self.edges[-1]
        wished = [begin + (end - begin) * n // 4 for n in range(5)] if self.to_scale else list(self.edges)
        ticks: list[Tick] = []
        for at_ms in wished:
            x = self.x(at_ms)
            if not ticks or x - ticks[-1].x >= TICKS_APART:
                ticks.append(Tick(x, f"+{span(at_ms - begin)}" if ticks else "0"))
        return ticks
