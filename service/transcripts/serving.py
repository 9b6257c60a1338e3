"""A stored transcript as Soniox's JSON document, piece by piece."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from service.transcripts.envelope import JOINED, read_envelope
from service.transcripts.filters import TokenFilter
from service.transcripts.table import unpack_texts, unpack_tokens
from service.transcripts.tokens import Token, text_of


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
    """All packed chunks in a list, a few megabytes at most."""
    if isinstance(chunks, AsyncIterable):
        return [data async for data in chunks]
    return list(chunks)


async def _value(
    name: str, value: Any, packed: Sequence[bytes], chosen: TokenFilter | None
) -> AsyncIterator[bytes]:
    """Yield one member's value as JSON, chunk after chunk where it comes from the tokens."""
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
