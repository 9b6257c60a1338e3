"""The Retry-After header. Pure."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def retry_after_s(value: str | None, now: datetime, longest_s: float) -> float | None:
    """Seconds for either form of a Retry-After header, at most `longest_s`; None for absent or garbage."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), longest_s)
    try:
        until = parsedate_to_datetime(text)
        until = until if until.tzinfo else until.replace(tzinfo=UTC)
        return min(max((until - now).total_seconds(), 0.0), longest_s)
    except (ValueError, OverflowError):
        return None
