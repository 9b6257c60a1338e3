"""Permits taken ahead: a process that asks Soniox often spends a few of the shared window at once.

With a commit for each request the database would bound how many there can be. What is taken ahead counts as spent
whether it is used or not, and is good only in the second it was spent in: so what was sent is never more than
what the window holds. Pure; `governor` spends.
"""

from collections import Counter
from typing import NamedTuple

PART = 1_000  # of a minute's budget, the most that is taken ahead: at Soniox's default quota nothing is
MOST = 64
REPEATS = 2  # requests made in this second for each that is taken ahead


class Ask(NamedTuple):
    """So many permits of one share are wanted, one at least."""

    share: str
    number: int


class Grant(NamedTuple):
    """So many were given, none at worst; `second` is the one they count in."""

    number: int
    second: int


class Ahead:
    """The permits of this process that nobody has used yet."""

    def __init__(self, requests_per_minute: int) -> None:
        self._most = min(MOST, requests_per_minute // PART)
        self._second = 0
        self._left: Counter[str] = Counter()
        self._used: Counter[str] = Counter()
        self._asking: Counter[str] = Counter()

    def use(self, share: str, second: int) -> bool:
        """True when there was one left."""
        if second != self._second:
            self._second = second
            self._left.clear()
            self._used.clear()
        if self._left[share] == 0:
            return False
        self._left[share] -= 1
        self._used[share] += 1
        return True

    def ask(self, share: str, more: int) -> Ask:
        """What to ask for: one, the `more` that are sure to follow, and others only if nobody else is asking.

        `answered` must follow.
        """
        ahead = 0 if self._asking[share] else min(self._most, self._used[share] // REPEATS)
        self._asking[share] += 1
        return Ask(share, 1 + max(ahead, more))

    def answered(self, ask: Ask, grant: Grant | None) -> None:
        """Keep what came beyond the one; None when nobody knows."""
        self._asking[ask.share] -= 1
        if grant and grant.number and grant.second == self._second:
            self._used[ask.share] += 1
            self._left[ask.share] += grant.number - 1
