"""Subtitles: divide words into captions, and write timed captions as SRT or WebVTT."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import chain, pairwise, tee
from math import ceil, inf

from service.transcripts.filters import RenderOptions
from service.transcripts.tokens import Timed
from service.transcripts.words import SENTENCE_ENDS, Word, words_of

PAUSE_MS = 1_200
"""A longer silence ends a caption."""

_CLAUSE_ENDS = (",", ";", ":", "–", "—", "、", "，", "；", "：", "،", "؛")  # noqa: RUF001 - marks of many scripts
_CLOSERS = "\"'”’»)]」』"  # noqa: RUF001 - marks of many scripts
_CLAUSE_WORTH = 0.2


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """A word with known times in milliseconds. Times never decrease from word to word."""

    text: str
    start_ms: int
    end_ms: int
    speaker: str | None
    spaced: bool


Caption = list[SpokenWord]


def captions_of(words: Iterable[Word], options: RenderOptions) -> Iterator[Caption]:
    """Yield captions that fit the options, split by speaker and pause, then by sentence, then by clause."""
    for block, following in pairwise(chain(_blocks(_spoken(words)), [None])):
        if block is not None:
            parts = [part for sentence in _sentences(block) for part in _parts(sentence, options)]
            yield from _joined(parts, following[0].start_ms if following else inf, options)


def lines_of(caption: Sequence[SpokenWord], options: RenderOptions) -> list[str]:
    """Break a caption into the smallest number of lines, of about the same length."""
    fewest = len(_wrapped(caption, options.max_chars))
    narrowest = ceil(length(caption) / fewest) - fewest
    for width in range(max(1, narrowest), options.max_chars):
        lines = _wrapped(caption, width)
        if len(lines) == fewest:
            return lines
    return _wrapped(caption, options.max_chars)


def length(words: Sequence[SpokenWord]) -> int:
    """Return the number of characters of the words in one line."""
    return sum(len(word.text) + word.spaced for word in words) - words[0].spaced


def _spoken(words: Iterable[Word]) -> Iterator[SpokenWord]:
    """Give every word its times. An unknown time is the end of the word before."""
    start, end = 0, 0
    for word in words:
        start = max(start, end if word.start_ms is None else word.start_ms)
        end = max(start, end if word.end_ms is None else word.end_ms)
        yield SpokenWord(word.text, start, end, word.speaker, word.spaced)


def _blocks(words: Iterable[SpokenWord]) -> Iterator[Caption]:
    """Split the words where the speaker changes or pauses."""
    block: Caption = []
    for word in words:
        if block and (word.speaker != block[-1].speaker or word.start_ms - block[-1].end_ms > PAUSE_MS):
            yield block
            block = []
        block.append(word)
    if block:
        yield block


def _sentences(block: Sequence[SpokenWord]) -> Iterator[Caption]:
    sentence: Caption = []
    for word in block:
        sentence.append(word)
        if _ends_with(word, SENTENCE_ENDS):
            yield sentence
            sentence = []
    if sentence:
        yield sentence


def _parts(sentence: Caption, options: RenderOptions) -> list[Caption]:
    """Halve a sentence recursively until each part fits."""
    if len(sentence) == 1 or _fits(sentence, options):
        return [sentence]
    place = _middle(sentence)
    return _parts(sentence[:place], options) + _parts(sentence[place:], options)


def _middle(words: Sequence[SpokenWord]) -> int:
    """Return the best place to split near the middle, preferably after a clause."""
    total = length(words)
    best, least = 1, float("inf")
    passed = 0
    for place, word in enumerate(words[:-1], 1):
        passed += len(word.text) + word.spaced
        badness = abs(2 * passed - total) / total
        badness += 0 if _ends_with(word, _CLAUSE_ENDS) else _CLAUSE_WORTH
        if badness < least:
            best, least = place, badness
    return best


def _joined(captions: Sequence[Caption], until_ms: float, options: RenderOptions) -> list[Caption]:
    """Join a caption that is too short to read with its neighbour, if both fit in one caption."""
    result: list[Caption] = []
    ends_ms = [*(caption[0].start_ms for caption in captions[1:]), until_ms]
    for caption, end_ms in zip(captions, ends_ms, strict=True):
        if result and _is_too_short(result[-1], caption, end_ms, options) and _fits(result[-1] + caption, options):
            result[-1] = result[-1] + caption
        else:
            result.append(caption)
    return result


def _is_too_short(caption: Caption, following: Caption, until_ms: float, options: RenderOptions) -> bool:
    """Return whether one of two neighbours is shown for less than the minimum duration."""
    passing_ms = following[0].start_ms
    return min(passing_ms - caption[0].start_ms, until_ms - passing_ms) < options.min_duration_ms


def _fits(words: Sequence[SpokenWord], options: RenderOptions) -> bool:
    if words[-1].end_ms - words[0].start_ms > options.max_duration_ms:
        return False
    if length(words) > options.max_chars * options.max_lines + options.max_lines:
        return False
    return len(_wrapped(words, options.max_chars)) <= options.max_lines


def _wrapped(words: Sequence[SpokenWord], width: int) -> list[str]:
    """Fill the lines in order. A line exceeds `width` only if a single word is wider."""
    lines = [words[0].text]
    for word in words[1:]:
        longer = f"{lines[-1]} {word.text}" if word.spaced else lines[-1] + word.text
        if len(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word.text)
    return lines


def _ends_with(word: SpokenWord, marks: tuple[str, ...]) -> bool:
    return word.text.rstrip(_CLOSERS).endswith(marks)


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
    """Yield subtitles by start time. Subtitles of one stream never overlap."""
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
    """Yield a SubRip file. The format has no escapes, so `-->` in the text becomes `->`."""
    for number, cue in enumerate(cues_of(items, options), 1):
        text = "\n".join(cue.lines).replace("-->", "->")
        yield f"{number}\n{_clock(cue.start_ms, ',')} --> {_clock(cue.end_ms, ',')}\n{text}\n\n"


def render_vtt(items: Iterable[Timed], options: RenderOptions) -> Iterator[str]:
    """Yield a WebVTT file with the speaker of each cue as its voice."""
    yield "WEBVTT\n\n"
    for cue in cues_of(items, options):
        voice = "" if cue.speaker is None else f"<v {_escaped(f'Speaker {cue.speaker}')}>"
        text = voice + _escaped("\n".join(cue.lines))
        yield f"{_clock(cue.start_ms, '.')} --> {_clock(cue.end_ms, '.')}\n{text}\n\n"


def _scheduled(words: Iterable[Word], options: RenderOptions) -> Iterator[Cue]:
    """Yield each caption as a cue that ends before the next one starts."""
    free_ms = 0
    for caption, following in pairwise(chain(captions_of(words, options), [None])):
        if caption is None:
            return
        start_ms = max(caption[0].start_ms, free_ms)
        free_ms = _end_ms(caption, start_ms, following, options)
        yield Cue(start_ms, free_ms, lines_of(caption, options), caption[0].speaker)


def _end_ms(caption: Caption, start_ms: int, following: Caption | None, options: RenderOptions) -> int:
    """Return when a caption ends: after it is spoken and read, limited by the next caption and the maximum."""
    reading_ms = ceil(length(caption) * 1000 / options.chars_per_second)
    wanted_ms = max(caption[-1].end_ms + _LINGER_MS, start_ms + reading_ms, start_ms + options.min_duration_ms)
    end_ms = min(wanted_ms, start_ms + options.max_duration_ms)
    if following is not None:
        end_ms = min(end_ms, following[0].start_ms)
    return max(end_ms, start_ms + 1)


def _clock(time_ms: int, point: str) -> str:
    """Format hours, minutes, seconds and milliseconds. `point` separates the milliseconds."""
    seconds, milliseconds = divmod(time_ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{point}{milliseconds:03}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
