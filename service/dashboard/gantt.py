"""A job's life as a Gantt chart: where it waited, and every call with its code and duration. Pure.

The places are percentages; the template draws each line as a strip of SVG beside its words.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from service.dashboard.axis import Axis, Tick
from service.lifecycle import Stage
from service.tables import TimelineEntry

NARROWEST = 0.4  # percent: a call of a millisecond is still seen

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
class Bar:
    """A stretch of a strip, in percent."""

    x: float
    width: float
    tone: Tone


@dataclass(frozen=True)
class Line:
    """One step: `duration_ms` and `code` where it was a call."""

    title: str
    bars: tuple[Bar, ...]
    source: str = ""
    at_ms: int | None = None
    duration_ms: int | None = None
    code: int | None = None
    detail: str = ""
    tone: Tone = "note"


@dataclass(frozen=True)
class Gantt:
    """`phases` say where the job was, `lines` what was done; `to_scale` False: long waits are drawn shorter."""

    phases: list[Line]
    lines: list[Line]
    ticks: list[Tick]
    to_scale: bool


@dataclass(frozen=True)
class _Stay:
    """Where the job was, from when to when; `until_ms` None: it is still there."""

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


def drawn(entries: Sequence[TimelineEntry], created_at_ms: int, now_ms: int) -> Gantt:
    """The chart of a timeline; what is not finished reaches to `now_ms`."""
    entries = sorted(entries, key=lambda entry: (begin_of(entry), entry.at_ms))
    stays = list(_stays(entries, created_at_ms))
    is_open = any(stay.until_ms is None for stay in stays)
    moments = [created_at_ms, *[moment for entry in entries for moment in (begin_of(entry), entry.at_ms)]]
    axis = Axis.over([*moments, now_ms] if is_open else moments)
    return Gantt(
        phases=[_phase(axis, stays, tone, title, now_ms) for tone, title in PHASES],
        lines=[_line(axis, entry) for entry in entries],
        ticks=axis.ticks(),
        to_scale=axis.to_scale,
    )


def begin_of(entry: TimelineEntry) -> int:
    """When the call of an entry began; entries are written at its end."""
    return entry.at_ms - (entry.duration_ms or 0)


def tone_of(entry: TimelineEntry) -> Tone:
    """Good or bad for what was tried, a note for what only happened."""
    if entry.step in {Stage.FAILED, "submission_postponed", "delivery_pending", "delivery_exhausted"}:
        return "bad"
    if entry.step in {Stage.SUBMITTED, Stage.COMPLETED, "transcript_fetched", "delivered"}:
        return "good"
    return "note"


def _stays(entries: Sequence[TimelineEntry], created_at_ms: int) -> Iterator[_Stay]:
    """Yield one stay after the other."""
    tone: Tone | None = "wait"
    since_ms = created_at_ms
    for entry in entries:
        following = "collect" if entry.step.startswith("found_") else NEXT.get(entry.step, tone)
        if following == tone or (tone, following) == ("collect", "soniox"):
            continue  # the second: a webhook that overtook the answer to create
        if tone is not None:
            yield _Stay(tone, since_ms, begin_of(entry))
        tone, since_ms = following, begin_of(entry)
    if tone is not None:
        yield _Stay(tone, since_ms, None)


def _phase(axis: Axis, stays: Sequence[_Stay], tone: Tone, title: str, now_ms: int) -> Line:
    mine = [
        (stay.from_ms, now_ms if stay.until_ms is None else stay.until_ms) for stay in stays if stay.tone == tone
    ]
    bars = tuple(_bar(axis, from_ms, until_ms, tone) for from_ms, until_ms in mine)
    total_ms = sum(until_ms - from_ms for from_ms, until_ms in mine)
    return Line(title, bars, duration_ms=total_ms if mine else None, tone=tone)


def _line(axis: Axis, entry: TimelineEntry) -> Line:
    found = entry.step.removeprefix("found_")
    return Line(
        title=TITLES.get(entry.step, f"Reconciler found: {found}" if found != entry.step else entry.step),
        bars=(_bar(axis, begin_of(entry), entry.at_ms, tone_of(entry)),),
        source=entry.source,
        at_ms=entry.at_ms,
        duration_ms=entry.duration_ms,
        code=entry.http_status,
        detail=entry.detail or "",
        tone=tone_of(entry),
    )


def _bar(axis: Axis, from_ms: int, until_ms: int, tone: Tone) -> Bar:
    x = min(axis.x(from_ms), 100 - NARROWEST)
    return Bar(x, max(round(axis.x(until_ms) - x, 3), NARROWEST), tone)
