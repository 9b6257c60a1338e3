"""The summary of a transcript: duration, word count, talk time by speaker, languages and confidence."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

import msgspec

from service.transcripts.tokens import Batch, Times, known
from service.transcripts.words import count_words

LOW_CONFIDENCE = 0.7
"""Below this a token is worth a second look: one recorded token in ten is under 0.89, none under 0.26."""

PAUSE_MS = 1_200
"""A longer silence is not counted as talk."""


@dataclass(frozen=True)
class Summary:
    """Figures of one transcript. All but `token_count` and `translated` leave translated text out."""

    duration_ms: int = 0
    """When the last token ends."""
    words: int = 0
    speakers: dict[str, int] = field(default_factory=dict)
    """Milliseconds of talk by speaker label, short pauses within a turn included."""
    languages: dict[str, int] = field(default_factory=dict)
    """Number of tokens by language."""
    mean_confidence: float | None = None
    low_confidence_share: float | None = None
    """How many of the tokens that have a confidence are below LOW_CONFIDENCE, from 0 to 1."""
    token_count: int = 0
    translated: bool = False

    def to_json(self) -> bytes:
        """Return the summary as a JSON object."""
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, content: bytes | str) -> "Summary":
        """Undo `to_json`. Raises msgspec.MsgspecError for other content."""
        return msgspec.json.decode(content, type=cls)


class Tally:
    """Builds a summary from consecutive batches of tokens."""

    def __init__(self) -> None:
        self._duration_ms = self._words = self._tokens = 0
        self._talk: Counter[str] = Counter()
        self._languages: Counter[str] = Counter()
        self._confidence_sum = 0.0
        self._confidences = self._low_confidences = 0
        self._translated = False

    def add(self, batch: Batch, starts: Times, ends: Times) -> None:
        """Add the next tokens, with their effective times."""
        self._tokens += len(batch.tokens)
        self._duration_ms = max(self._duration_ms, max(known(ends), default=0))
        statuses = batch.column("translation_status")
        if "translation" in statuses:
            self._translated = True
            spoken = [status != "translation" for status in statuses]
            batch = Batch(list(compress(batch.tokens, spoken)))
            starts, ends = list(compress(starts, spoken)), list(compress(ends, spoken))
        if batch.tokens:
            self._add_speech(batch, starts, ends)

    def summary(self) -> Summary:
        """Return the summary of all tokens so far."""
        counted = self._confidences
        return Summary(
            duration_ms=self._duration_ms,
            words=self._words,
            speakers=dict(self._talk),
            languages=dict(self._languages),
            mean_confidence=self._confidence_sum / counted if counted else None,
            low_confidence_share=self._low_confidences / counted if counted else None,
            token_count=self._tokens,
            translated=self._translated,
        )

    def _add_speech(self, batch: Batch, starts: Times, ends: Times) -> None:
        self._words += count_words(batch)
        self._languages.update(batch.strings("language"))
        confidences = batch.confidences
        self._confidences += len(confidences)
        self._confidence_sum += sum(confidences)
        self._low_confidences += len([value for value in confidences if value < LOW_CONFIDENCE])
        for speaker, talk_ms in _stretches(batch.column("speaker"), starts, ends):
            self._talk[speaker] += talk_ms


def _stretches(speakers: Sequence[Any], starts: Times, ends: Times) -> Iterator[tuple[str, int]]:
    """Yield the speaker and the talk time (ms) of each stretch without a change of speaker or a pause."""
    spoken = [
        (speaker, start, end)
        for speaker, start, end in zip(speakers, starts, ends, strict=True)
        if start is not None and end is not None and type(speaker) is str
    ]
    if not spoken:
        return
    speaker, begun, until = spoken[0]
    for now, start, end in spoken[1:]:
        if now != speaker or not until <= start <= until + PAUSE_MS:
            yield speaker, until - begun
            speaker, begun = now, start
        until = end
    yield speaker, until - begun
