"""Transcripts packed for storage, losslessly, in chunks that can be read one by one.

The envelope holds the document without its tokens, the chunks hold the tokens. Everything here gives
way to the event loop between chunks, so that the longest transcript stalls nobody.
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from service.transcripts.cutting import cut
from service.transcripts.filters import TokenFilter
from service.transcripts.parsing import MalformedTranscript, Reading
from service.transcripts.summary import Summary, Tally
from service.transcripts.table import compress, decompress, pack_tokens, unpack_texts, unpack_tokens
from service.transcripts.timing import Times, effective_times
from service.transcripts.tokens import Batch, Token, text_of

__all__ = ["Chunk", "MalformedTranscript", "Packed", "json_body", "pack", "unpack", "unpack_tokens"]

_LARGE = 64 * 1024
_JOINED = None
"""Stands in the envelope for a text that is the tokens' texts joined; Soniox's own is never null."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """About 1,000 tokens in a row. A translation and its originals are in the same one."""

    position: int
    token_count: int
    start_ms: int | None
    """Smallest effective time in the chunk, None if no token has one."""
    end_ms: int | None
    """Largest effective time in the chunk."""
    min_confidence: float | None
    data: bytes
    """Packed tokens; the first byte names the codec version."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A transcript ready to be stored."""

    envelope: bytes
    """All of the document but `tokens`, and but `text` where that is the tokens' texts joined."""
    chunks: list[Chunk]
    token_count: int
    summary: Summary


async def pack(body: bytes) -> Packed:
    """Pack the JSON document Soniox answered; MalformedTranscript (a ValueError) if it is not one."""
    reading = Reading(body)
    chunks: list[Chunk] = []
    texts: list[str] = []
    tally = Tally()
    for position, tokens in enumerate(cut(reading)):
        batch = Batch(tokens)
        starts, ends = effective_times(batch)
        tally.add(batch, starts, ends)
        chunks.append(_chunk(position, batch, starts, ends))
        texts.append(batch.text)
        await asyncio.sleep(0)
    summary = tally.summary()
    return Packed(await _envelope(reading.fields, texts), chunks, summary.token_count, summary)


async def unpack(envelope: bytes, chunks: Iterable[bytes]) -> dict[str, Any]:
    """Give back the document exactly as Soniox sent it: values, types, absent keys, order of keys."""
    fields = _fields(envelope)
    tokens: list[Token] = fields["tokens"]
    texts: list[str] = []
    for data in chunks:
        part = unpack_tokens(data)
        tokens += part
        texts.append("".join(map(text_of, part)))
        await asyncio.sleep(0)
    if fields["text"] is _JOINED:
        fields["text"] = "".join(texts)
    return fields


async def json_body(
    envelope: bytes,
    chunks: Iterable[bytes] | AsyncIterable[bytes],
    transcription_id: str,
    chosen: TokenFilter | None = None,
) -> AsyncIterator[bytes]:
    """Yield the document as JSON in pieces, `id` replaced by `transcription_id`.

    Only packed chunks and one unpacked one are in memory at any time. With `chosen` the document has only
    the tokens it keeps, and `text` is made of those.
    """
    fields = _fields(envelope) | {"id": transcription_id}
    packed = await collected(chunks)
    if chosen is not None:
        fields["text"] = _JOINED
    separator = b"{"
    for name, value in fields.items():
        yield separator + msgspec.json.encode(name) + b":"
        async for piece in _value(name, value, packed, chosen):
            yield piece
        separator = b","
    yield b"}"


async def collected(chunks: Iterable[bytes] | AsyncIterable[bytes]) -> list[bytes]:
    """All packed chunks in a list, a few megabytes at most."""
    if isinstance(chunks, AsyncIterable):
        return [data async for data in chunks]
    return list(chunks)


def _chunk(position: int, batch: Batch, starts: Times, ends: Times) -> Chunk:
    times = [time for time in (*starts, *ends) if time is not None]
    return Chunk(
        position=position,
        token_count=len(batch.tokens),
        start_ms=min(times, default=None),
        end_ms=max(times, default=None),
        min_confidence=min(batch.confidences, default=None),
        data=pack_tokens(batch),
    )


async def _envelope(fields: dict[str, Any], texts: Sequence[str]) -> bytes:
    if fields["text"] == "".join(texts):
        fields = {**fields, "text": _JOINED}
    content = msgspec.json.encode(fields)
    return await asyncio.to_thread(compress, content) if len(content) > _LARGE else compress(content)


def _fields(envelope: bytes) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.json.decode(decompress(envelope))
    return fields


async def _value(
    name: str, value: Any, packed: Sequence[bytes], chosen: TokenFilter | None
) -> AsyncIterator[bytes]:
    """Yield one member's value as JSON, chunk after chunk where it comes from the tokens."""
    if name == "tokens":
        pieces = _token_pieces(packed, chosen)
    elif name == "text" and value is _JOINED:
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
