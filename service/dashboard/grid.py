"""How deliveries fared: endpoints down, time across, a success rate in each cell. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

from service.clock import HOUR_MS

Tone = Literal["none", "good", "mixed", "bad", "open"]


class Window(NamedTuple):
    """A length of time that the grid can show, in steps."""

    name: str
    step_ms: int
    steps: int


WINDOWS = {
    "24h": Window("24 hours", HOUR_MS, 24),
    "7d": Window("7 days", 6 * HOUR_MS, 28),
    "30d": Window("30 days", 24 * HOUR_MS, 30),
}


class Tally(NamedTuple):
    """Deliveries of one endpoint in one step, or the newest of them: delivered, given up, still open."""

    delivered: int
    exhausted: int
    pending: int


@dataclass(frozen=True)
class Cell:
    """One step: `rate` in percent of what has an outcome, None without any."""

    from_ms: int
    until_ms: int
    tally: Tally
    rate: int | None
    tone: Tone


def edges_of(window: Window, now_ms: int) -> list[int]:
    """Where the steps begin, and where the last one ends: full hours or days, the last one is not over."""
    end_ms = (now_ms // window.step_ms + 1) * window.step_ms
    return [end_ms - n * window.step_ms for n in range(window.steps, -1, -1)]


def row_of(edges: Sequence[int], tallies: Mapping[int, Tally]) -> list[Cell]:
    """The cells of one endpoint; `tallies` by the number of the step."""
    nothing = Tally(0, 0, 0)
    return [_cell(begin, end, tallies.get(n, nothing)) for n, (begin, end) in enumerate(pairwise(edges))]


def _cell(from_ms: int, until_ms: int, tally: Tally) -> Cell:
    ended = tally.delivered + tally.exhausted
    rate = 100 * tally.delivered // ended if ended else None
    return Cell(from_ms, until_ms, tally, rate, _tone(tally, rate))


def _tone(tally: Tally, rate: int | None) -> Tone:
    match rate:
        case None:
            return "open" if tally.pending else "none"
        case 100:
            return "good"
        case 0:
            return "bad"
        case _:
            return "mixed"
