"""Keep: a packed transcript as the rows that are stored of it."""

import hashlib

import msgspec

from service.store.transcripts import Parts
from service.tables import Transcript, TranscriptChunk
from service.transcripts.codec import Chunk, Packed


def parts_of(owner: str, transcription_id: str, packed: Packed, now_ms: int) -> Parts:
    """The rows, to be stored in the transaction that finishes the transcription."""
    head = Transcript(
        transcription_id=transcription_id,
        envelope=packed.envelope,
        digest=_digest(packed),
        token_count=packed.token_count,
        summary=msgspec.to_builtins(packed.summary),
        stored_at_ms=now_ms,
    )
    return Parts(owner, head, [_chunk_row(transcription_id, chunk) for chunk in packed.chunks], packed.passages)


def _chunk_row(transcription_id: str, chunk: Chunk) -> TranscriptChunk:
    return TranscriptChunk(
        transcription_id=transcription_id,
        position=chunk.position,
        token_count=chunk.token_count,
        start_ms=chunk.start_ms,
        end_ms=chunk.end_ms,
        min_confidence=chunk.min_confidence,
        data=chunk.data,
    )


def _digest(packed: Packed) -> str:
    digest = hashlib.blake2b(packed.envelope, digest_size=16)
    for chunk in packed.chunks:
        digest.update(chunk.data)
    return digest.hexdigest()
