"""The chart of a job's timeline: its waits, and every call with its code and duration. Pure functions."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import log1p
from typing import Literal

from service.dashboard.format import duration
from service.lifecycle import Stage
from service.tables import TimelineEntry

LINEAR_UP_TO_MS = 180_000
QUICK_MS = 20  # a span of this length stays visible on a logarithmic axis
TICKS_APART = 14.0  # percent


@dataclass(frozen=True)
class Tick:
    """A mark on the axis: its position in percent, and its time since the start as a label."""

    x: float
    label: str


@dataclass(frozen=True)
class Axis:
    """A time axis. `edges` are moments in ascending order (ms), `places` their positions from 0 to 100.

    With `to_scale` False, long waits are shortened logarithmically.
    """

    edges: tuple[int, ...]
    places: tuple[float, ...]
    to_scale: bool

    @classmethod
    def over(cls, moments: Iterable[int]) -> "Axis":
        """Return the axis from the first to the last of at least one moment."""
        edges = sorted(set(moments))
        if len(edges) == 1:
            edges.append(edges[0] + 1)
        to_scale = edges[-1] - edges[0] <= LINEAR_UP_TO_MS
        lengths = [after - before for before, after in pairwise(edges)]
        widths = [length if to_scale else log1p(length / QUICK_MS) for length in lengths]
        places = accumulate(widths, initial=0.0)
        return cls(tuple(edges), tuple(100 * place / sum(widths) for place in places), to_scale)

    def x(self, at_ms: int) -> float:
        """Return the position of a moment, clamped to the range from 0 to 100."""
        after = min(max(bisect_right(self.edges, at_ms), 1), len(self.edges) - 1)
        first, last = self.edges[after - 1], self.edges[after]
        left, right = self.places[after - 1], self.places[after]
        x = left + (right - left) * (at_ms - first) / (last - first)
        return round(min(max(x, 0.0), 100.0), 3)

    def ticks(self) -> list[Tick]:
        """Return marks that do not overlap: even steps if the axis is to scale, else the moments in `edges`."""
        begin, end = self.edges[0], self.edges[-1]
        wished = [begin + (end - begin) * n // 4 for n in range(5)] if self.to_scale else list(self.edges)
        ticks: list[Tick] = []
        for at_ms in wished:
            x = self.x(at_ms)
            if not ticks or x - ticks[-1].x >= TICKS_APART:
                ticks.append(Tick(x, f"+{duration(at_ms - begin)}" if ticks else "0"))
        return ticks


MIN_WIDTH = 0.4  # percent: a call of one millisecond stays visible

Tone = Literal["wait", "soniox", "collect", "good", "bad", "note"]

TITLES = {
    "accepted": "Accepted",
    "adopted": "Adopted",
    "submitted": "Create at Soniox",
    "submission_postponed": "Create at Soniox, postponed",
    "webhook_received": "Webhook from Soniox",
    "transcript_fetched": "Fetch the transcript",
    "completed": "Stored",
    "failed": "Failed",
    "retry": "Asked to try again",
    "delivered": "Delivery",
    "delivery_pending": "Delivery, to be tried again",
    "delivery_exhausted": "Delivery, given up",
}


@dataclass(frozen=True)
class ChartBar:
    """A bar of a chart line; `x` and `width` in percent."""

    x: float
    width: float
    tone: Tone


@dataclass(frozen=True)
class ChartLine:
    """A line of the chart. `duration_ms` and `code` are set if the step was a call."""

    title: str
    bars: tuple[ChartBar, ...]
    source: str = ""
    at_ms: int | None = None
    duration_ms: int | None = None
    code: int | None = None
    detail: str = ""
    tone: Tone = "note"


@dataclass(frozen=True)
class TimelineChart:
    """`phases` show where the job was, `lines` the steps. Without `to_scale`, long waits are drawn shorter."""

    phases: list[ChartLine]
    lines: list[ChartLine]
    ticks: list[Tick]
    to_scale: bool


@dataclass(frozen=True)
class _StageSpan:
    """A span of time in one phase. `until_ms` is None while the job is still in it."""

    tone: Tone
    from_ms: int
    until_ms: int | None


PHASES: tuple[tuple[Tone, str], ...] = (
    ("wait", "Waiting here"),
    ("soniox", "At Soniox"),
    ("collect", "Collecting the result"),
)
NEXT: dict[str, Tone | None] = {
    "accepted": "wait",
    "retry": "wait",
    "adopted": "soniox",
    Stage.SUBMITTED: "soniox",
    "webhook_received": "collect",
    Stage.COMPLETED: None,
    Stage.FAILED: None,
}


def chart_of(entries: Sequence[TimelineEntry], created_at_ms: int, now_ms: int) -> TimelineChart:
    """Return the chart of a timeline. An unfinished phase extends to `now_ms`."""
    entries = sorted(entries, key=lambda entry: (start_of(entry), entry.at_ms))
    stays = list(_stage_spans(entries, created_at_ms))
    is_open = any(stay.until_ms is None for stay in stays)
    moments = [created_at_ms, *[moment for entry in entries for moment in (start_of(entry), entry.at_ms)]]
    axis = Axis.over([*moments, now_ms] if is_open else moments)
    return TimelineChart(
        phases=[_phase(axis, stays, tone, title, now_ms) for tone, title in PHASES],
        lines=[_line(axis, entry) for entry in entries],
        ticks=axis.ticks(),
        to_scale=axis.to_scale,
    )


def start_of(entry: TimelineEntry) -> int:
    """Return when the call of an entry began. Entries are written at the end of the call."""
    return entry.at_ms - (entry.duration_ms or 0)


def tone_of(entry: TimelineEntry) -> Tone:
    """Return `good` or `bad` for the result of an operation, `note` for any other step."""
    if entry.step in {Stage.FAILED, "submission_postponed", "delivery_pending", "delivery_exhausted"}:
        return "bad"
    if entry.step in {Stage.SUBMITTED, Stage.COMPLETED, "transcript_fetched", "delivered"}:
        return "good"
    return "note"


def _stage_spans(entries: Sequence[TimelineEntry], created_at_ms: int) -> Iterator[_StageSpan]:
    """Yield the phases of the job in order."""
    tone: Tone | None = "wait"
    since_ms = created_at_ms
    for entry in entries:
        following = "collect" if entry.step.startswith("found_") else NEXT.get(entry.step, tone)
        if following == tone or (tone, following) == ("collect", "soniox"):
            continue  # collect before soniox: the webhook came before the answer to the create call
        if tone is not None:
            yield _StageSpan(tone, since_ms, start_of(entry))
        tone, since_ms = following, start_of(entry)
    if tone is not None:
        yield _StageSpan(tone, since_ms, None)


def _phase(axis: Axis, stays: Sequence[_StageSpan], tone: Tone, title: str, now_ms: int) -> ChartLine:
    mine = [
        (stay.from_ms, now_ms if stay.until_ms is None else stay.until_ms) for stay in stays if stay.tone == tone
    ]
    bars = tuple(_bar(axis, from_ms, until_ms, tone) for from_ms, until_ms in mine)
    total_ms = sum(until_ms - from_ms for from_ms, until_ms in mine)
    return ChartLine(title, bars, duration_ms=total_ms if mine else None, tone=tone)


def _line(axis: Axis, entry: TimelineEntry) -> ChartLine:
    found = entry.step.removeprefix("found_")
    return ChartLine(
        title=TITLES.get(entry.step, f"Reconciler found: {found}" if found != entry.step else entry.step),
        bars=(_bar(axis, start_of(entry), entry.at_ms, tone_of(entry)),),
        source=entry.source,
        at_ms=entry.at_ms,
        duration_ms=entry.duration_ms,
        code=entry.http_status,
        detail=entry.detail or "",
        tone=tone_of(entry),
    )


def _bar(axis: Axis, from_ms: int, until_ms: int, tone: Tone) -> ChartBar:
    x = min(axis.x(from_ms), 100 - MIN_WIDTH)
    return ChartBar(x, max(round(axis.x(until_ms) - x, 3), MIN_WIDTH), tone)
