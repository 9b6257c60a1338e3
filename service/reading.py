"""Stored transcripts read back inside the service, for those who need the text rather than the tokens."""

import asyncio

from service.db import Database
from service.store import transcripts
from service.transcripts.envelope import JOINED, read_envelope
from service.transcripts.table import unpack_texts


async def text_of(db: Database, transcription_id: str) -> str | None:
    """The transcript's `text` as Soniox sent it, None if there is no transcript (any more)."""
    async with db.read() as connection:
        head = await transcripts.get(connection, transcription_id)
        chunks = await transcripts.read_chunks(connection, transcription_id)
    if head is None or chunks is None:
        return None
    text = read_envelope(head.envelope)["text"]
    return await _joined(chunks) if text is JOINED else str(text)


async def _joined(chunks: list[bytes]) -> str:
    texts: list[str] = []
    for data in chunks:
        texts += unpack_texts(data)
        await asyncio.sleep(0)
    return "".join(texts)
