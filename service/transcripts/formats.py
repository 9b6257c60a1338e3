"""Every format a transcript is served in, by the name callers use."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Literal

import msgspec

from service.transcripts.options import RenderOptions
from service.transcripts.serving import collected
from service.transcripts.spreadsheet import render_csv
from service.transcripts.subtitles import render_srt, render_vtt
from service.transcripts.table import unpack_tokens
from service.transcripts.timing import Timed, timed
from service.transcripts.tokens import Token, text_of
from service.transcripts.turns import render_segments, render_text

Format = Literal["json", "text", "srt", "vtt", "csv", "segments"]

FORMATS: tuple[Format, ...] = ("json", "text", "srt", "vtt", "csv", "segments")

MEDIA_TYPES: dict[Format, str] = {
    "json": "application/json",
    "text": "text/plain; charset=utf-8",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
    "csv": "text/csv; charset=utf-8; header=present",
    "segments": "application/json",
}

_PIECE_CHARS = 64 * 1024


def render(fmt: Format, tokens: Sequence[Token], options: RenderOptions | None = None) -> str:
    """The whole document. `tokens` are all of the transcript: the options choose which are shown."""
    return "".join(_pieces(fmt, timed(tokens), options or RenderOptions()))


async def stream(
    fmt: Format,
    chunks: Iterable[bytes] | AsyncIterable[bytes],
    options: RenderOptions | None = None,
) -> AsyncIterator[bytes]:
    """Yield the same document from packed chunks, in pieces of about 64 KiB of UTF-8.

    Rendering goes on in a thread, one piece at a time. For `json`, prefer `json_body`: it holds less.
    """
    packed = await collected(chunks)
    items = chain.from_iterable(timed(unpack_tokens(data)) for data in packed)
    pieces = _pieces(fmt, items, options or RenderOptions())
    while piece := await asyncio.to_thread(_gathered, pieces):
        yield piece.encode()


def _pieces(fmt: Format, items: Iterable[Timed], options: RenderOptions) -> Iterator[str]:
    return _RENDERERS[fmt](options.chosen.select(items), options)


def _gathered(pieces: Iterator[str]) -> str:
    """Take pieces until they are worth sending; an empty string when none are left."""
    taken: list[str] = []
    size = 0
    for piece in pieces:
        taken.append(piece)
        size += len(piece)
        if size >= _PIECE_CHARS:
            break
    return "".join(taken)


def _render_json(items: Iterable[Timed], options: RenderOptions) -> Iterator[str]:
    """Yield Soniox's document with the chosen tokens; `text` is made of those."""
    tokens = [item.token for item in items]
    text = "".join(map(text_of, tokens))
    document = {"id": options.transcription_id, "text": text, "tokens": tokens}
    yield msgspec.json.encode(document).decode()


_RENDERERS: dict[Format, Callable[[Iterable[Timed], RenderOptions], Iterator[str]]] = {
    "json": _render_json,
    "text": lambda items, _: render_text(items),
    "srt": render_srt,
    "vtt": render_vtt,
    "csv": lambda items, _: render_csv(items),
    "segments": lambda items, _: render_segments(items),
}
