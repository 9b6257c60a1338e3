"""A transcript prepared for a page: speaker lanes, and rows with their translations. Pure functions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, groupby

from service.transcripts.passages import matches
from service.transcripts.search_terms import Phrase, composed
from service.transcripts.tokens import Timed, confidence_of, is_translation, text_of

MAX_TOKEN_MS = 1_000
JOINED = 0.15  # percent: stretches with a smaller gap are merged
MAX_LANES = 12

SpeakerPassage = tuple[int, str | None, int]
"""When a passage begins (ms), who speaks, and how many tokens it has."""


@dataclass(frozen=True)
class SpeakerLane:
    """The stretches of one speaker as (x, width) in percent, and the total talk time."""

    speaker: str | None
    stretches: tuple[tuple[float, float], ...]
    talk_ms: int
    share: int  # percent of all talk


def speaker_lanes(heard: Sequence[SpeakerPassage], duration_ms: int, talk: dict[str, int]) -> list[SpeakerLane]:
    """Return the lanes, longest talk time first. `talk` is the talk time by speaker (ms) from the summary."""
    if not duration_ms:
        return []
    by_speaker: dict[str | None, list[tuple[int, int]]] = {}
    ordered = sorted(heard, key=lambda passage: passage[0])
    for (begin, speaker, _), end in zip(ordered, _ends(ordered, duration_ms), strict=True):
        by_speaker.setdefault(speaker, []).append((begin, end))
    total_ms = sum(talk.values()) or 1
    lanes = [
        SpeakerLane(
            speaker, _joined(spans, duration_ms), talk.get(speaker or "", 0), _share(talk, speaker, total_ms)
        )
        for speaker, spans in by_speaker.items()
    ]
    return sorted(lanes, key=lambda lane: (-lane.talk_ms, lane.speaker or ""))[:MAX_LANES]


def _ends(ordered: Sequence[SpeakerPassage], duration_ms: int) -> list[int]:
    ends: list[int] = []
    following = later = duration_ms  # the start of the next passage, and the next start that is later than it
    for begin, _, tokens in reversed(ordered):
        following, later = begin, later if begin == following else following
        ends.append(max(begin, min(later, begin + tokens * MAX_TOKEN_MS)))
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


@dataclass(frozen=True)
class TokenSpan:
    """A token with its times and confidence. `hit` is True if it is part of a search match."""

    text: str
    start_ms: int | None
    end_ms: int | None
    confidence: float | None
    hit: bool = False


@dataclass(frozen=True)
class Utterance:
    """Consecutive tokens of one language."""

    language: str | None
    pieces: list[TokenSpan]


@dataclass
class TranscriptRow:
    """Speech of one speaker and its translation. `goes_on` is True if the row before has the same speaker."""

    speaker: str | None
    start_ms: int | None = None
    goes_on: bool = False
    said: list[Utterance] = field(default_factory=list)
    translated: list[Utterance] = field(default_factory=list)


def transcript_rows(items: Sequence[Timed], phrases: Sequence[Phrase] = ()) -> list[TranscriptRow]:
    """Return the rows of a page. Tokens that match `phrases` are marked as hits."""
    rows: list[TranscriptRow] = []
    for (speaker, translated), run in groupby(items, key=_speaker_class):
        tokens = list(run)
        row = rows[-1] if rows else None
        if row is None or row.speaker != speaker or not translated or row.translated:
            row = TranscriptRow(speaker, tokens[0].start_ms, goes_on=bool(rows) and rows[-1].speaker == speaker)
            rows.append(row)
        sayings = _utterances(tokens, phrases)
        if translated:
            row.translated = sayings
        else:
            row.said = sayings
    return rows


def _speaker_class(item: Timed) -> tuple[str | None, bool]:
    speaker = item.token.get("speaker")
    return None if speaker is None else str(speaker), is_translation(item.token)


def _utterances(items: Sequence[Timed], phrases: Sequence[Phrase]) -> list[Utterance]:
    hits = _hits(items, phrases) if phrases else [False] * len(items)
    pieces = [_piece(item, hit) for item, hit in zip(items, hits, strict=True)]
    told = groupby(zip(items, pieces, strict=True), key=lambda pair: _language(pair[0]))
    return [Utterance(language, [piece for _, piece in pairs]) for language, pairs in told]


def _language(item: Timed) -> str | None:
    language = item.token.get("language")
    return None if language is None else str(language)


def _piece(item: Timed, hit: bool) -> TokenSpan:
    return TokenSpan(text_of(item.token), item.start_ms, item.end_ms, confidence_of(item.token), hit)


def _hits(items: Sequence[Timed], phrases: Sequence[Phrase]) -> list[bool]:
    """Return for each token whether it is part of a match. A match may begin or end inside a token."""
    texts = [composed(text_of(item.token)) for item in items]
    spans = matches("".join(texts), phrases)
    return [any(begin < last and end > first for begin, end in spans) for first, last in _edges(texts)]


def _edges(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    first = 0
    for last in accumulate(map(len, texts)):
        yield first, last
        first = last
