"""What a caller may ask of a rendered transcript."""

from dataclasses import dataclass, field
from typing import Literal

from service.transcripts.filters import TokenFilter

Stream = Literal["original", "translation", "both"]

_NATURAL_STREAM: dict[str, Stream] = {
    "all": "original",
    "original": "original",
    "translation": "translation",
}


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """Which tokens to render, and how subtitles are laid out; the defaults are what broadcasters use."""

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
        """What subtitles show."""
        return self.stream or _NATURAL_STREAM[self.chosen.translation]
