"""The envelope: a transcript's document without its tokens."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from service.transcripts.table import compress, decompress

JOINED = None
"""Stands for a `text` that is the tokens' texts joined; Soniox's own is never null."""

_LARGE = 64 * 1024
"""From this size on, compressing would stall the event loop; in a thread it does not."""


async def write_envelope(fields: dict[str, Any], texts: Sequence[str]) -> bytes:
    """Pack all fields of a document; `texts` are those of its tokens, `tokens` itself is empty."""
    if fields["text"] == "".join(texts):
        fields = {**fields, "text": JOINED}
    content = msgspec.json.encode(fields)
    return await asyncio.to_thread(compress, content) if len(content) > _LARGE else compress(content)


def read_envelope(envelope: bytes) -> dict[str, Any]:
    """Give back the fields in Soniox's order; `text` is JOINED if it is to be made from the tokens."""
    fields: dict[str, Any] = msgspec.json.decode(decompress(envelope))
    return fields
