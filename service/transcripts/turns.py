"""Turns: what one speaker says in one language before another speaker or language comes."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

import msgspec

from service.transcripts.timing import Timed
from service.transcripts.tokens import confidence_of, text_of


class Turn(msgspec.Struct, omit_defaults=True):
    """One turn; `translation_status` is left out where Soniox gives none."""

    speaker: str | None
    language: str | None
    start_ms: int | None
    end_ms: int | None
    text: str
    confidence: float | None
    """Mean over the turn's tokens."""
    translation_status: str | None = None


def turns_of(items: Iterable[Timed]) -> Iterator[Turn]:
    """Group timed tokens to turns while they pass by; times are effective ones."""
    for (speaker, language, status), group in groupby(items, key=_turn):
        yield _gathered(Turn(speaker, language, None, None, "", None, status), group)


def _turn(item: Timed) -> tuple[Any, Any, Any]:
    token = item.token
    return token.get("speaker"), token.get("language"), token.get("translation_status")


def _gathered(turn: Turn, items: Iterable[Timed]) -> Turn:
    """Fill a turn token by token: one that lasts for hours is not held in memory."""
    texts: list[str] = []
    confidence_sum, known = 0.0, 0
    for token, start, end in items:
        texts.append(text_of(token))
        turn.start_ms = start if turn.start_ms is None else turn.start_ms
        turn.end_ms = turn.end_ms if end is None else end
        if (confidence := confidence_of(token)) is not None:
            confidence_sum, known = confidence_sum + confidence, known + 1
    turn.text = "".join(texts).strip()
    turn.confidence = round(confidence_sum / known, 4) if known else None
    return turn


def render_text(items: Iterable[Timed]) -> Iterator[str]:
    """Yield the transcript for reading: speakers and languages named where they change.

    The same text as `soniox.utils.render_tokens` makes of these tokens.
    """
    speaker = language = None
    for token, _, _ in items:
        text = text_of(token)
        if (now := token.get("speaker")) is not None and now != speaker:
            yield f"Speaker {now}:" if speaker is None else f"\n\nSpeaker {now}:"
            speaker, language = now, None
        if (now := token.get("language")) is not None and now != language:
            label = "[Translation] " if token.get("translation_status") == "translation" else ""
            yield f"\n{label}[{now}] "
            language, text = now, text.lstrip()
        yield text


def render_segments(items: Iterable[Timed]) -> Iterator[str]:
    """Yield the turns as a JSON list."""
    separator = "["
    for turn in turns_of(items):
        yield separator + msgspec.json.encode(turn).decode()
        separator = ","
    yield "[]" if separator == "[" else "]"
