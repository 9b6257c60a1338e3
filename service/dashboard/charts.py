"""Statistics prepared for drawing: flow, charts, gauges, alerts and delivery grids. Pure functions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from service.clock import HOUR_MS

Json = Mapping[str, Any]

MINUTE_S = 60
HOUR_S = 3600


class FlowStep(NamedTuple):
    """A box of the flow. It is late if its oldest item is older than `late_s`."""

    group: str
    name: str
    title: str
    means: str
    url: str
    late_s: int


STEPS = (
    FlowStep("stages", "accepted", "Accepted", "waiting for room", "/ui/jobs?stage=accepted", 15 * MINUTE_S),
    FlowStep("stages", "submitting", "Submitting", "being sent", "/ui/jobs?stage=submitting", 5 * MINUTE_S),
    FlowStep("stages", "submitted", "At Soniox", "being transcribed", "/ui/jobs?stage=submitted", HOUR_S),
    FlowStep("queues", "collect", "Collecting", "to be fetched", "/ui/inbox", 5 * MINUTE_S),
    FlowStep("queues", "deliver", "Delivering", "to be sent on", "/ui/deliveries?status=pending", HOUR_S),
    FlowStep("queues", "cleanup", "Cleaning up", "to be removed there", "/ui/system", HOUR_S),
)
FOR_OWNERS = {"collect": "/ui/jobs?stage=submitted", "cleanup": "/ui/jobs?status=completed"}
PLACES = {
    "transcription": "/ui/jobs/{}",
    "delivery": "/ui/deliveries/{}",
    "endpoint": "/ui/endpoints/{}",
    "reconciler": "/ui/reconciler",
}
ACTIONS = {
    "transcription_failed": "Try again",
    "delivery_exhausted": "Send again",
    "endpoint_disabled": "Enable",
    "endpoint_failing": "Send a test",
}
TITLES = {
    "worker_silent": "No worker",
    "reconciler_silent": "No reconciler",
    "soniox_blocked": "Nothing goes to Soniox",
    "queue_late": "Work waits too long",
    "webhooks_missed": "Webhooks are being lost",
    "transcription_failed": "Transcription failed",
    "delivery_exhausted": "Delivery given up",
    "endpoint_disabled": "Endpoint disabled",
    "endpoint_failing": "Endpoint keeps failing",
}
GAUGES = {
    "pending": "Pending at Soniox",
    "transcriptions": "Transcriptions stored there",
    "files": "Files stored there",
    "requests_per_minute": "Requests this minute",
}


def flow_of(figures: Json, *, is_admin: bool) -> list[dict[str, Any]]:
    """Return the boxes from accepted to cleaned up, each with its count and the age of its oldest item (ms).

    Each box links to a page that the visitor may open.
    """
    drawn = []
    for step in STEPS:
        standing = next(one for one in figures[step.group] if one["name"] == step.name)
        oldest_s = standing["oldest_s"]
        drawn.append(
            {
                **step._asdict(),
                "url": step.url if is_admin else FOR_OWNERS.get(step.name, step.url),
                "count": standing["count"],
                "oldest_ms": None if oldest_s is None else oldest_s * 1000,
                "is_late": oldest_s is not None and oldest_s > step.late_s,
            }
        )
    return drawn


def charts_of(figures: Json) -> dict[str, dict[str, Any]]:
    """Return the data for `static/charts.js`, with `x` in seconds since 1970."""
    jobs, sent = figures["jobs"]["intervals"], figures["deliveries"]["intervals"]
    learned = [one["learned_from"] for one in jobs]
    return {
        "results": _stack(
            jobs,
            _series("Failed", "chart-2", [one["failed"] for one in jobs]),
            _series("Completed", "chart-1", [one["completed"] for one in jobs]),
        ),
        "turnaround": {
            "x": _starts(jobs),
            "series": [
                _series("p50", "chart-1", [_seconds(one["turnaround_p50_ms"]) for one in jobs]),
                _series("p95", "chart-5", [_seconds(one["turnaround_p95_ms"]) for one in jobs]),
            ],
            "unit": " s",
            "least": 1,
        },
        "learned": _stack(
            jobs,
            _series("Reconciler", "chart-4", [one.get("reconciler", 0) for one in learned]),
            _series("Webhook", "chart-3", [one.get("webhook", 0) for one in learned]),
        ),
        "deliveries": _stack(
            sent,
            _series("Given up", "chart-2", [one["exhausted"] for one in sent]),
            _series("Delivered", "chart-1", [one["delivered"] for one in sent]),
        ),
    }


def gauges_of(figures: Json) -> list[dict[str, Any]]:
    """Return the use of each quota. The list is empty if the statistics contain no quotas."""
    return [
        {"title": title, **quota, "kind": _fullness(share(quota["used"], quota["limit"]) or 0)}
        for name, title in GAUGES.items()
        if (quota := figures.get("quotas", {}).get(name))
    ]


def alerts_of(figures: Json) -> list[list[dict[str, Any]]]:
    """Return the alerts grouped by kind, in the order in which each kind first appears."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for concern in figures["attention"]:
        groups.setdefault(concern["kind"], []).append(_alert(concern))
    return list(groups.values())


def _alert(concern: Json) -> dict[str, Any]:
    """Return an entry of the attention list with its title, its link and its action, if there is one."""
    subject = concern["subject"] or {"type": "", "id": ""}
    return {
        **concern,
        "title": TITLES.get(concern["kind"], concern["kind"].replace("_", " ").capitalize()),
        "url": PLACES.get(subject["type"], "/ui/system").format(subject["id"]),
        "subject_id": subject["id"],
        "deed": ACTIONS.get(concern["kind"]),
    }


def share(part: float, whole: float) -> float | None:
    """Return `part` / `whole`, or None if `whole` is 0."""
    return part / whole if whole else None


def _fullness(used: float) -> str:
    return "bad" if used >= 0.95 else "warn" if used >= 0.8 else "good"


def _stack(intervals: Sequence[Json], *series: dict[str, Any]) -> dict[str, Any]:
    return {"x": _starts(intervals), "series": list(series), "stacked": True}


def _series(name: str, color: str, values: list[Any]) -> dict[str, Any]:
    return {"name": name, "color": color, "values": values}


def _starts(intervals: Sequence[Json]) -> list[int]:
    return [int(datetime.fromisoformat(one["start"]).timestamp()) for one in intervals]


def _seconds(duration_ms: int | None) -> float | None:
    return None if duration_ms is None else round(duration_ms / 1000, 2)


GridTone = Literal["none", "good", "mixed", "bad", "open"]


class GridWindow(NamedTuple):
    """A time window of the grid, divided into steps."""

    name: str
    step_ms: int
    steps: int


WINDOWS = {
    "24h": GridWindow("24 hours", HOUR_MS, 24),
    "7d": GridWindow("7 days", 6 * HOUR_MS, 28),
    "30d": GridWindow("30 days", 24 * HOUR_MS, 30),
}


class Outcomes(NamedTuple):
    """Counts of one endpoint's deliveries in one step, or of the newest ones."""

    delivered: int
    exhausted: int
    pending: int


@dataclass(frozen=True)
class GridCell:
    """A cell of the grid. `rate` is the percentage of finished deliveries that succeeded, None without any."""

    from_ms: int
    until_ms: int
    tally: Outcomes
    rate: int | None
    tone: GridTone


def edges_of(window: GridWindow, now_ms: int) -> list[int]:
    """Return the start of each step and the end of the last one (ms), aligned to the length of a step.

    The last step contains `now_ms`.
    """
    end_ms = (now_ms // window.step_ms + 1) * window.step_ms
    return [end_ms - n * window.step_ms for n in range(window.steps, -1, -1)]


def grid_row(edges: Sequence[int], tallies: Mapping[int, Outcomes]) -> list[GridCell]:
    """Return the cells of one endpoint. The keys of `tallies` are step numbers."""
    nothing = Outcomes(0, 0, 0)
    return [_cell(begin, end, tallies.get(n, nothing)) for n, (begin, end) in enumerate(pairwise(edges))]


def _cell(from_ms: int, until_ms: int, tally: Outcomes) -> GridCell:
    ended = tally.delivered + tally.exhausted
    rate = 100 * tally.delivered // ended if ended else None
    return GridCell(from_ms, until_ms, tally, rate, _tone(tally, rate))


def _tone(tally: Outcomes, rate: int | None) -> GridTone:
    match rate:
        case None:
            return "open" if tally.pending else "none"
        case 100:
            return "good"
        case 0:
            return "bad"
        case _:
            return "mixed"
