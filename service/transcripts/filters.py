"""Filters that select tokens of a transcript, and options for rendering them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from service.transcripts.tokens import Timed, Token, confidence_of, is_translation, timed

Translation = Literal["all", "original", "translation"]


@dataclass(frozen=True, slots=True)
class TokenFilter:
    """Conditions that a token must all meet. None or empty means no condition."""

    from_ms: int | None = None
    """Keep what is still being said at this time, or begins later."""
    to_ms: int | None = None
    """Keep what begins before this time."""
    speakers: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    translation: Translation = "all"
    """`original` is everything spoken, translated or not; `translation` only translated text."""
    max_confidence: float | None = None
    """Keep doubtful tokens; one without a confidence is not doubtful."""

    def apply(self, tokens: Sequence[Token]) -> list[Token]:
        """Return the tokens that meet all conditions, unchanged.

        `tokens` must contain the originals as well, because translations get their times from them.
        """
        return [item.token for item in self.select(timed(tokens))]

    def select(self, items: Iterable[Timed]) -> Iterable[Timed]:
        """Return the timed tokens that meet all conditions."""
        return items if self == _EVERYTHING else filter(self._keeps, items)

    def _keeps(self, item: Timed) -> bool:
        token = item.token
        return (
            (self.translation == "all" or is_translation(token) == (self.translation == "translation"))
            and (not self.speakers or token.get("speaker") in self.speakers)
            and (not self.languages or token.get("language") in self.languages)
            and self._is_doubtful(token)
            and self._is_within(item.start_ms, item.end_ms)
        )

    def _is_doubtful(self, token: Token) -> bool:
        if self.max_confidence is None:
            return True
        confidence = confidence_of(token)
        return confidence is not None and confidence <= self.max_confidence

    def _is_within(self, start_ms: int | None, end_ms: int | None) -> bool:
        """Return whether the token overlaps the time window. A token without times is outside any window."""
        if self.from_ms is None and self.to_ms is None:
            return True
        if start_ms is None:
            return False
        last_ms = start_ms if end_ms is None else end_ms
        return (self.to_ms is None or start_ms < self.to_ms) and (
            self.from_ms is None or start_ms >= self.from_ms or last_ms > self.from_ms
        )


_EVERYTHING = TokenFilter()

Stream = Literal["original", "translation", "both"]

_NATURAL_STREAM: dict[str, Stream] = {
    "all": "original",
    "original": "original",
    "translation": "translation",
}


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """The tokens to render, and the layout of subtitles. The defaults are the values that broadcasters use."""

    chosen: TokenFilter = field(default_factory=TokenFilter)
    transcription_id: str = ""
    """`id` in the `json` format."""
    max_chars: int = 42
    """Of one subtitle line."""
    max_lines: int = 2
    min_duration_ms: int = 1_000
    """A shorter subtitle stays on screen this long if nothing follows sooner."""
    max_duration_ms: int = 7_000
    chars_per_second: float = 17.0
    """Reading speed: a subtitle stays into the silence after it until it can be read."""
    stream: Stream | None = None
    """What subtitles show. None follows `chosen.translation`, and shows the originals if that is `all`.

    With `both`, originals and translations are subtitles of their own, shown at the same time.
    """

    def subtitle_stream(self) -> Stream:
        """Return which stream the subtitles show."""
        return self.stream or _NATURAL_STREAM[self.chosen.translation]
