"""Who spoke when: one lane for each speaker, drawn from the passages that search knows. Pure.

A passage has a beginning but no end. It is taken to last until the next one begins, whoever speaks there, and no
longer than its tokens can take: a silence is then left empty.
"""

from collections.abc import Sequence
from dataclasses import dataclass

LONGEST_TOKEN_MS = 1_000
JOINED = 0.15  # percent: stretches that stand closer are one
MOST_LANES = 12

Heard = tuple[int, str | None, int]
"""When a passage begins (ms), who speaks, and how many tokens it has."""


@dataclass(frozen=True)
class Lane:
    """One speaker: his stretches as (x, width) in percent, and how long he talks."""

    speaker: str | None
    stretches: tuple[tuple[float, float], ...]
    talk_ms: int
    share: int  # percent of all talk


def lanes_of(heard: Sequence[Heard], duration_ms: int, talk: dict[str, int]) -> list[Lane]:
    """The lanes, whoever talks most first; `talk` has the ms of talk by speaker, from the summary."""
    if not duration_ms:
        return []
    by_speaker: dict[str | None, list[tuple[int, int]]] = {}
    ordered = sorted(heard, key=lambda passage: passage[0])
    for (begin, speaker, _), end in zip(ordered, _ends(ordered, duration_ms), strict=True):
        by_speaker.setdefault(speaker, []).append((begin, end))
    total_ms = sum(talk.values()) or 1
    lanes = [
        Lane(speaker, _joined(spans, duration_ms), talk.get(speaker or "", 0), _share(talk, speaker, total_ms))
        for speaker, spans in by_speaker.items()
    ]
    return sorted(lanes, key=lambda lane: (-lane.talk_ms, lane.speaker or ""))[:MOST_LANES]


def _ends(ordered: Sequence[Heard], duration_ms: int) -> list[int]:
    ends: list[int] = []
    following = later = duration_ms  # the next beginning, and the next one that is truly later
    for begin, _, tokens in reversed(ordered):
        following, later = begin, later if begin == following else following
        ends.append(max(begin, min(later, begin + tokens * LONGEST_TOKEN_MS)))
    return ends[::-1]


def _share(talk: dict[str, int], speaker: str | None, total_ms: int) -> int:
    return round(100 * talk.get(speaker or "", 0) / total_ms)


def _joined(spans: Sequence[tuple[int, int]], duration_ms: int) -> tuple[tuple[float, float], ...]:
    joined: list[tuple[float, float]] = []
    for begin, end in spans:
        x, right = 100 * begin / duration_ms, 100 * end / duration_ms
        if joined and x - sum(joined[-1]) < JOINED:
            left = joined[-1][0]
            joined[-1] = (left, max(right - left, joined[-1][1]))
        else:
            joined.append((x, right - x))
    return tuple((round(x, 2), max(round(width, 2), JOINED)) for x, width in joined)
