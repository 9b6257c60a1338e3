"""Enclose: the transcript, or its text, put into the event that announces it, as an endpoint's `include` asks.

The stored event ends with `}}`, the ends of `data` and of the document; what is enclosed goes in front of them.
A stored transcript never changes, so each try has the same bytes. What would be longer than LARGEST goes without,
as stored: the event has a link to the transcript.
"""

import msgspec

from service.relay import Relay
from service.store import transcripts
from service.transcripts.codec import json_body
from service.transcripts.envelope import JOINED, read_envelope
from service.transcripts.table import unpack_texts

LARGEST = 1024 * 1024  # bytes of the whole message
END = b"}}"
ANNOUNCED = "transcription.completed"


async def enclosed(relay: Relay, transcription_id: str, include: str, body: bytes) -> bytes:
    """The event with the transcript in it, if there is one and it fits."""
    stored, chunks = await relay.db.read(
        lambda session: (
            transcripts.get(session, transcription_id),
            transcripts.read_chunks(session, transcription_id),
        )
    )
    if stored is None or chunks is None:
        return body
    room = LARGEST - len(body) - 32
    if include == "transcript":
        piece = await _document(stored.envelope, chunks, transcription_id, room)
    else:
        piece = _text(stored.envelope, chunks)
    if piece is None or len(piece) > room or not body.endswith(END):
        return body
    return body[: -len(END)] + b',"' + include.encode() + b'":' + piece + END


async def _document(envelope: bytes, chunks: list[bytes], transcription_id: str, room: int) -> bytes | None:
    """Exactly what `GET .../transcript` gives; None as soon as it is too long."""
    parts: list[bytes] = []
    async for part in json_body(envelope, chunks, transcription_id):
        parts.append(part)
        room -= len(part)
        if room < 0:
            return None
    return b"".join(parts)


def _text(envelope: bytes, chunks: list[bytes]) -> bytes:
    text = read_envelope(envelope)["text"]
    if text is JOINED:
        text = "".join("".join(unpack_texts(chunk)) for chunk in chunks)
    return msgspec.json.encode(text)
