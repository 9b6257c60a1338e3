"""Subtitles as SRT and WebVTT: captions with the time they stay on the screen."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import merge
from itertools import chain, pairwise, tee
from math import ceil

from service.transcripts.captions import Caption, captions_of, length, lines_of
from service.transcripts.options import RenderOptions
from service.transcripts.timing import Timed
from service.transcripts.words import Word, words_of

_LINGER_MS = 400
"""A word sounds on after its token's nominal end, and a reader finishes after the speaker."""


@dataclass(frozen=True, slots=True)
class Cue:
    """One subtitle."""

    start_ms: int
    end_ms: int
    lines: list[str]
    speaker: str | None


def cues_of(items: Iterable[Timed], options: RenderOptions) -> Iterator[Cue]:
    """Yield subtitles by start time; those of one stream never overlap."""
    originals, translations = tee(words_of(items))
    match options.subtitle_stream():
        case "original":
            return _scheduled((word for word in originals if not word.translation), options)
        case "translation":
            return _scheduled((word for word in translations if word.translation), options)
        case "both":
            return merge(
                _scheduled((word for word in originals if not word.translation), options),
                _scheduled((word for word in translations if word.translation), options),
                key=lambda cue: cue.start_ms,
            )


def render_srt(items: Iterable[Timed], options: RenderOptions) -> Iterator[str]:
    """Yield a SubRip file. The format has no escapes, so an arrow in the text loses a dash."""
    for number, cue in enumerate(cues_of(items, options), 1):
        text = "\n".join(cue.lines).replace("-->", "->")
        yield f"{number}\n{_clock(cue.start_ms, ',')} --> {_clock(cue.end_ms, ',')}\n{text}\n\n"


def render_vtt(items: Iterable[Timed], options: RenderOptions) -> Iterator[str]:
    """Yield a WebVTT file, each cue with its speaker as voice."""
    yield "WEBVTT\n\n"
    for cue in cues_of(items, options):
        voice = "" if cue.speaker is None else f"<v {_escaped(f'Speaker {cue.speaker}')}>"
        text = voice + _escaped("\n".join(cue.lines))
        yield f"{_clock(cue.start_ms, '.')} --> {_clock(cue.end_ms, '.')}\n{text}\n\n"


def _scheduled(words: Iterable[Word], options: RenderOptions) -> Iterator[Cue]:
    """Give each caption its time, before the next one needs the screen."""
    free_ms = 0
    for caption, following in pairwise(chain(captions_of(words, options), [None])):
        if caption is None:
            return
        start_ms = max(caption[0].start_ms, free_ms)
        free_ms = _end_ms(caption, start_ms, following, options)
        yield Cue(start_ms, free_ms, lines_of(caption, options), caption[0].speaker)


def _end_ms(caption: Caption, start_ms: int, following: Caption | None, options: RenderOptions) -> int:
    """Until it is spoken and read, but not into the next caption nor beyond the longest duration."""
    reading_ms = ceil(length(caption) * 1000 / options.chars_per_second)
    wanted_ms = max(caption[-1].end_ms + _LINGER_MS, start_ms + reading_ms, start_ms + options.min_duration_ms)
    end_ms = min(wanted_ms, start_ms + options.max_duration_ms)
    if following is not None:
        end_ms = min(end_ms, following[0].start_ms)
    return max(end_ms, start_ms + 1)


def _clock(time_ms: int, point: str) -> str:
    """Hours, minutes, seconds and milliseconds, as subtitle files write them."""
    seconds, milliseconds = divmod(time_ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{point}{milliseconds:03}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
