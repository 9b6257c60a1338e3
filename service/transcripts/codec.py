"""Transcripts packed for storage, losslessly, in chunks that can be read one by one.

The envelope holds the document without its tokens, the chunks hold the tokens. Everything here gives
way to the event loop between chunks, so that the longest transcript stalls nobody.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from service.transcripts.cutting import cut
from service.transcripts.envelope import JOINED, read_envelope, write_envelope
from service.transcripts.parsing import MalformedTranscript, Reading
from service.transcripts.passages import Passage, Passages
from service.transcripts.serving import json_body
from service.transcripts.summary import Summary, Tally
from service.transcripts.table import pack_tokens, unpack_tokens
from service.transcripts.timing import Times, effective_times, known
from service.transcripts.tokens import Batch, Token, text_of

__all__ = ["Chunk", "MalformedTranscript", "Packed", "json_body", "pack", "unpack", "unpack_tokens"]


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
    passages: list[Passage]
    """What search will find, in the order of the tokens."""


async def pack(body: bytes) -> Packed:
    """Pack the JSON document Soniox answered; MalformedTranscript (a ValueError) if it is not one."""
    reading = Reading(body)
    chunks: list[Chunk] = []
    texts: list[str] = []
    tally, passages = Tally(), Passages()
    for position, tokens in enumerate(cut(reading)):
        batch = Batch(tokens)
        starts, ends = effective_times(batch)
        tally.add(batch, starts, ends)
        passages.add(position, batch, starts)
        chunks.append(_chunk(position, batch, starts, ends))
        texts.append(batch.text)
        await asyncio.sleep(0)
    summary = tally.summary()
    envelope = await write_envelope(reading.fields, texts)
    return Packed(envelope, chunks, summary.token_count, summary, passages.all())


async def unpack(envelope: bytes, chunks: Iterable[bytes]) -> dict[str, Any]:
    """Give back the document exactly as Soniox sent it: values, types, absent keys, order of keys."""
    fields = read_envelope(envelope)
    tokens: list[Token] = fields["tokens"]
    texts: list[str] = []
    for data in chunks:
        part = unpack_tokens(data)
        tokens += part
        texts.append("".join(map(text_of, part)))
        await asyncio.sleep(0)
    if fields["text"] is JOINED:
        fields["text"] = "".join(texts)
    return fields


def _chunk(position: int, batch: Batch, starts: Times, ends: Times) -> Chunk:
    times = known(starts + ends)
    return Chunk(
        position=position,
        token_count=len(batch.tokens),
        start_ms=min(times, default=None),
        end_ms=max(times, default=None),
        min_confidence=min(batch.confidences, default=None),
        data=pack_tokens(batch),
    )
