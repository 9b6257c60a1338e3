"""Numbers, durations and times formatted for the pages. Pure functions."""

import statistics
from collections.abc import Sequence
from datetime import UTC, datetime

from service.clock import DAY_MS, HOUR_MS, MINUTE_MS

NOTHING = "–"  # noqa: RUF001  # an en dash stands for no value


def utc(at_ms: int | None) -> str:
    """Format a moment, such as `2026-11-21 08:00:05 UTC`."""
    if at_ms is None:
        return NOTHING
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def ago(at_ms: int | None, now_ms: int) -> str:
    """Format a moment relative to now, such as `3 min ago` or `in 20 s`."""
    if at_ms is None:
        return NOTHING
    apart_ms = now_ms - at_ms
    if abs(apart_ms) < 1000:
        return "now"
    return f"{approximately(apart_ms)} ago" if apart_ms > 0 else f"in {approximately(-apart_ms)}"


def duration(duration_ms: float | None) -> str:
    """Format a duration in two or three digits: `45 ms`, `1.2 s`, `2 min 5 s`, `3 h 20 min`."""
    if duration_ms is None:
        return NOTHING
    if duration_ms < 1000:
        return f"{duration_ms:.0f} ms"
    if duration_ms < 10_000:
        return f"{duration_ms / 1000:.1f} s"
    if duration_ms < MINUTE_MS:
        return f"{duration_ms / 1000:.0f} s"
    large, small, large_name, small_name = _parts(duration_ms)
    return f"{large} {large_name} {small} {small_name}" if small else f"{large} {large_name}"


def clock_time(ms: int) -> str:
    """Format a position in a recording, such as `4:07` or `1:02:33`."""
    minutes, seconds = divmod(ms // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def fine_duration(duration_ms: float | None) -> str:
    """Format a duration below 100 ms with more digits, such as `0.42 ms` or `3.1 ms`."""
    if duration_ms is None or duration_ms >= 100:
        return duration(duration_ms)
    return f"{duration_ms:.2f} ms" if duration_ms < 1 else f"{duration_ms:.1f} ms"


def size(number: int | None) -> str:
    """Format a number of bytes, such as `812 B` or `3.4 MB`."""
    if number is None:
        return NOTHING
    amount = float(number)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def count(number: float | None) -> str:
    """Format a number with spaces between thousands, such as `12 400`."""
    return NOTHING if number is None else f"{number:,.0f}".replace(",", "\u202f")


def percent(share: float | None) -> str:
    """Format a share from 0 to 1, such as `98.4 %`. Only a share of exactly 1 gives `100 %`."""
    if share is None:
        return NOTHING
    return "100 %" if share == 1 else f"{min(share * 100, 99.9):.1f} %"


def ms(moment: str) -> int:
    """Convert an RFC 3339 moment, as the API writes it, to milliseconds since 1970."""
    return round(datetime.fromisoformat(moment).timestamp() * 1000)


def median(figures: Sequence[float]) -> float | None:
    """Return the median, or None for an empty sequence."""
    return statistics.median(figures) if figures else None


def truncate(text: str | None, length: int) -> str:
    """Return at most `length` characters, with an ellipsis if the text is cut."""
    given = text or ""
    return given if len(given) <= length else given[: length - 1] + "…"


def approximately(duration_ms: float) -> str:
    """Format a duration in one unit, because small units that change every second are hard to read."""
    for unit_ms, name in ((DAY_MS, "d"), (HOUR_MS, "h"), (MINUTE_MS, "min")):
        if duration_ms >= unit_ms:
            return f"{duration_ms // unit_ms:.0f} {name}"
    return f"{duration_ms // 1000:.0f} s"


def _parts(duration_ms: float) -> tuple[int, int, str, str]:
    whole_ms = int(duration_ms)
    if whole_ms >= DAY_MS:
        return whole_ms // DAY_MS, whole_ms % DAY_MS // HOUR_MS, "d", "h"
    if whole_ms >= HOUR_MS:
        return whole_ms // HOUR_MS, whole_ms % HOUR_MS // MINUTE_MS, "h", "min"
    return whole_ms // MINUTE_MS, whole_ms % MINUTE_MS // 1000, "min", "s"
