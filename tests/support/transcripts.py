"""Transcripts put straight into a relay's database, as the pipeline stores them, for tests of what comes after."""

import json
from typing import Any

from sqlmodel import Session

from service.ids import new_uuid
from service.lifecycle import Stage
from service.pipeline.results import transcript_rows
from service.relay import Relay
from service.store import transcriptions, transcripts
from service.tables import Transcription
from service.transcripts.codec import pack

OWNER = "bootstrap"


def spoken(text: str, start_ms: int, **more: Any) -> dict[str, Any]:
    """A token with every key that Soniox serves."""
    return {
        "text": text,
        "start_ms": start_ms,
        "end_ms": start_ms + 60,
        "confidence": 0.99,
        "speaker": None,
        "language": None,
        "is_audio_event": None,
        "translation_status": None,
        **more,
    }


def said(sentence: str, start_ms: int = 0, **more: Any) -> list[dict[str, Any]]:
    """A token for each word, 300 ms apart, each with a space before it."""
    return [spoken(f" {word}", start_ms + 300 * n, **more) for n, word in enumerate(sentence.split())]


def document(tokens: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """What Soniox would answer."""
    text = "".join(token.get("text") or "" for token in tokens)
    return {"id": "0b7f9c3e-6c0e-4f0e-9a53-2f0f8f1f7d11", "text": text, "tokens": tokens, **more}


async def put(relay: Relay, body: bytes | dict[str, Any], **fields: Any) -> str:
    """Store a completed transcription with this transcript; gives back its id."""
    now_ms = relay.clock()
    packed = await pack(body if isinstance(body, bytes) else json.dumps(body).encode())
    values: dict[str, Any] = {
        "id": new_uuid(now_ms),
        "owner": OWNER,
        "stage": Stage.COMPLETED,
        "created_at_ms": now_ms,
        "finished_at_ms": now_ms,
        "filename": "talk.wav",
        "model": "stt-async-v5",
    }
    job = Transcription(**values | fields)
    parts = transcript_rows(job.owner, job.id, packed, now_ms)

    def keep(session: Session) -> None:
        transcriptions.accept(session, [job])
        transcripts.store(session, parts)

    await relay.db.write(keep)
    return job.id
