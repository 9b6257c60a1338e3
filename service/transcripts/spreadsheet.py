"""Tokens as CSV, one row each, safe to open in a spreadsheet."""

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any

from service.transcripts.timing import Timed

_COPIED = ("text", "confidence", "speaker", "language", "source_language", "translation_status")
HEADER = ("start_ms", "end_ms", *_COPIED)
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def render_csv(items: Iterable[Timed]) -> Iterator[str]:
    """Yield a header and a row per token (RFC 4180); times are effective ones, unknown values empty.

    A spreadsheet would run a text like `=1+1` as a formula: such values get an apostrophe in front.
    """
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(HEADER)
    for token, start_ms, end_ms in items:
        writer.writerow((start_ms, end_ms, *(_safe(token.get(key)) for key in _COPIED)))
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def _safe(value: Any) -> Any:
    """Defuse what a spreadsheet would take for a formula, also behind spaces."""
    if isinstance(value, str) and (value.lstrip(" \n").startswith(_FORMULA_STARTS)):
        return f"'{value}"
    return value
