"""Export formats, written piece by piece: JSON, text, CSV, segments and subtitles."""

import asyncio
import csv
import enum
import io
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from itertools import chain, groupby
from typing import Any

import msgspec

from service.transcripts.codec import JOINED, read_envelope
from service.transcripts.columns import unpack_texts, unpack_tokens
from service.transcripts.filters import RenderOptions, TokenFilter
from service.transcripts.subtitles import render_srt, render_vtt
from service.transcripts.tokens import Timed, Token, confidence_of, text_of, timed


class Turn(msgspec.Struct, omit_defaults=True):
    """Consecutive tokens of one speaker and language. `translation_status` is omitted if Soniox gives none."""

    speaker: str | None
    language: str | None
    start_ms: int | None
    end_ms: int | None
    text: str
    confidence: float | None
    """Mean over the turn's tokens."""
    translation_status: str | None = None


def turns_of(items: Iterable[Timed]) -> Iterator[Turn]:
    """Group timed tokens into turns lazily. The times are effective times."""
    for (speaker, language, status), group in groupby(items, key=_turn):
        yield _segment_groups(Turn(speaker, language, None, None, "", None, status), group)


def _turn(item: Timed) -> tuple[Any, Any, Any]:
    token = item.token
    return token.get("speaker"), token.get("language"), token.get("translation_status")


def _segment_groups(turn: Turn, items: Iterable[Timed]) -> Turn:
    """Fill a turn token by token, so that the tokens of a long turn are not held in memory."""
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
    """Yield readable text that names speakers and languages where they change.

    The result is the same as that of `soniox.utils.render_tokens`.
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


_COPIED = ("text", "confidence", "speaker", "language", "source_language", "translation_status")
HEADER = ("start_ms", "end_ms", *_COPIED)
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def render_csv(items: Iterable[Timed]) -> Iterator[str]:
    """Yield a header and one row per token (RFC 4180), with effective times. Unknown values are empty.

    A spreadsheet would run a text like `=1+1` as a formula, so such values get an apostrophe in front.
    """
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(HEADER)
    for token, start_ms, end_ms in items:
        writer.writerow((start_ms, end_ms, *(_safe(token.get(key)) for key in _COPIED)))
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def _safe(value: Any) -> Any:
    """Escape a value that a spreadsheet would run as a formula, also after leading spaces."""
    if isinstance(value, str) and (value.lstrip(" \n").startswith(_FORMULA_STARTS)):
        return f"'{value}"
    return value


async def json_body(
    envelope: bytes,
    chunks: Iterable[bytes] | AsyncIterable[bytes],
    transcription_id: str,
    chosen: TokenFilter | None = None,
) -> AsyncIterator[bytes]:
    """Yield the JSON document in pieces, with `id` replaced by `transcription_id`.

    Memory holds the packed chunks and a single unpacked chunk. With `chosen`, the document contains only the
    tokens that pass the filter, and `text` is built from them.
    """
    fields = read_envelope(envelope) | {"id": transcription_id}
    packed = await collected(chunks)
    if chosen is not None:
        fields["text"] = JOINED
    separator = b"{"
    for name, value in fields.items():
        yield separator + msgspec.json.encode(name) + b":"
        async for piece in _value(name, value, packed, chosen):
            yield piece
        separator = b","
    yield b"}"


async def collected(chunks: Iterable[bytes] | AsyncIterable[bytes]) -> list[bytes]:
    """Return all packed chunks in a list of a few megabytes at most."""
    if isinstance(chunks, AsyncIterable):
        return [data async for data in chunks]
    return list(chunks)


async def _value(
    name: str, value: Any, packed: Sequence[bytes], chosen: TokenFilter | None
) -> AsyncIterator[bytes]:
    """Yield the value of one member as JSON, chunk by chunk if it is built from the tokens."""
    if name == "tokens":
        pieces = _token_pieces(packed, chosen)
    elif name == "text" and value is JOINED:
        pieces = _text_pieces(packed, chosen)
    else:
        pieces = iter([msgspec.json.encode(value)])
    for piece in pieces:
        yield piece
        await asyncio.sleep(0)


def _token_pieces(packed: Sequence[bytes], chosen: TokenFilter | None) -> Iterator[bytes]:
    separator = b"["
    for data in packed:
        if tokens := _kept(data, chosen):
            yield separator + msgspec.json.encode(tokens)[1:-1]
            separator = b","
    yield b"[]" if separator == b"[" else b"]"


def _text_pieces(packed: Sequence[bytes], chosen: TokenFilter | None) -> Iterator[bytes]:
    yield b'"'
    for data in packed:
        texts = unpack_texts(data) if chosen is None else map(text_of, _kept(data, chosen))
        yield msgspec.json.encode("".join(texts))[1:-1]
    yield b'"'


def _kept(data: bytes, chosen: TokenFilter | None) -> list[Token]:
    tokens = unpack_tokens(data)
    return tokens if chosen is None else chosen.apply(tokens)


CSV_TYPE = "text/csv; charset=utf-8; header=present"  # RFC 4180
_PIECE_CHARS = 64 * 1024


def render(fmt: "Format", tokens: Sequence[Token], options: RenderOptions | None = None) -> str:
    """Return the whole document. `tokens` are all tokens of the transcript; the options filter them."""
    return "".join(_pieces(fmt, timed(tokens), options or RenderOptions()))


async def stream(
    fmt: "Format",
    chunks: Iterable[bytes] | AsyncIterable[bytes],
    options: RenderOptions | None = None,
) -> AsyncIterator[bytes]:
    """Yield the same document from packed chunks, in pieces of about 64 KiB of UTF-8.

    Each piece is rendered in a thread. For `json`, prefer `json_body`, which uses less memory.
    """
    packed = await collected(chunks)
    items = chain.from_iterable(timed(unpack_tokens(data)) for data in packed)
    pieces = _pieces(fmt, items, options or RenderOptions())
    while piece := await asyncio.to_thread(_gathered, pieces):
        yield piece.encode()


def _pieces(fmt: "Format", items: Iterable[Timed], options: RenderOptions) -> Iterator[str]:
    return fmt.write(options.chosen.select(items), options)


def _gathered(pieces: Iterator[str]) -> str:
    """Join pieces up to about `_PIECE_CHARS`. Return an empty string if none are left."""
    taken: list[str] = []
    size = 0
    for piece in pieces:
        taken.append(piece)
        size += len(piece)
        if size >= _PIECE_CHARS:
            break
    return "".join(taken)


def _render_json(items: Iterable[Timed], options: RenderOptions) -> Iterator[str]:
    """Yield Soniox's document with the chosen tokens and a `text` built from them."""
    tokens = [item.token for item in items]
    text = "".join(map(text_of, tokens))
    document = {"id": options.transcription_id, "text": text, "tokens": tokens}
    yield msgspec.json.encode(document).decode()


class Format(enum.StrEnum):
    """How a transcript is written."""

    # API, command line and dashboard take their choices from this enum. A format without a suffix is for
    # programs and is not offered as a file.
    label: str
    media_type: str
    suffix: str
    write: Callable[[Iterable[Timed], RenderOptions], Iterator[str]]

    def __new__(
        cls,
        name: str,
        label: str,
        media_type: str,
        suffix: str,
        write: Callable[[Iterable[Timed], RenderOptions], Iterator[str]],
    ) -> "Format":
        entry = str.__new__(cls, name)
        entry._value_ = name
        entry.label, entry.media_type, entry.suffix, entry.write = label, media_type, suffix, write
        return entry

    JSON = "json", "JSON, as Soniox sends it", "application/json", "", _render_json
    TEXT = "text", "Text", "text/plain; charset=utf-8", ".txt", lambda items, _: render_text(items)
    SRT = "srt", "Subtitles (SRT)", "application/x-subrip; charset=utf-8", ".srt", render_srt
    VTT = "vtt", "Subtitles (WebVTT)", "text/vtt; charset=utf-8", ".vtt", render_vtt
    CSV = (
        "csv",
        "Table (CSV)",
        "text/csv; charset=utf-8; header=present",
        ".csv",
        lambda items, _: render_csv(items),
    )
    SEGMENTS = "segments", "Segments (JSON)", "application/json", "", lambda items, _: render_segments(items)
