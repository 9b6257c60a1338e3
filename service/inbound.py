"""The last calls of the webhook route, refused ones too, as this process answered them. Kept in memory only.

What was accepted is in the inbox, for good and for all processes. This is for the question why nothing gets there.
"""

from collections import deque
from typing import NamedTuple
from urllib.parse import parse_qs

KEPT = 200
LONGEST_QUERY = 200  # bytes of what a stranger may have put into the URL


class Call(NamedTuple):
    """One call: what followed `?` in its URL, what we answered, and after how many microseconds."""

    at_ms: int
    query: bytes
    status_code: int
    took_us: int

    @property
    def job(self) -> str:
        """The transcription it names; empty for none."""
        return (parse_qs(self.query.decode("latin-1")).get("job") or [""])[0]


def no_calls() -> deque[Call]:
    """Room for the newest few."""
    return deque(maxlen=KEPT)
