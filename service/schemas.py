"""What outsiders see of a transcription and of an event: JSON-ready dictionaries. Pure."""

from typing import Any

import msgspec

from service.clock import iso
from service.errors import Problems
from service.lifecycle import Stage, soniox_status
from service.tables import File, TimelineEntry, Transcription

MASK = "*" * 18  # as Soniox masks it


def transcription_object(job: Transcription) -> dict[str, Any]:
    """Soniox's Transcription object, and what the relay adds to it."""
    request = job.request
    return {
        "id": job.id,
        "status": soniox_status(Stage(job.stage), job.soniox_status),
        "created_at": iso(job.created_at_ms),
        "model": job.model,
        "audio_url": request.get("audio_url"),
        "file_id": request.get("file_id") or job.file_id,
        "filename": job.filename,
        "language_hints": request.get("language_hints"),
        "enable_speaker_diarization": bool(request.get("enable_speaker_diarization")),
        "enable_language_identification": bool(request.get("enable_language_identification")),
        "audio_duration_ms": job.audio_duration_ms,
        "error_type": job.error_type,
        "error_message": job.error_message,
        "webhook_url": job.callback_url,
        "webhook_auth_header_name": job.callback_header,
        "webhook_auth_header_value": MASK if job.callback_secret_sealed else None,
        "webhook_status_code": job.callback_status_code,
        "client_reference_id": job.client_reference_id,
        "translation": request.get("translation"),
        "context": request.get("context"),
        "stage": job.stage,
        "soniox_id": job.soniox_id,
        "metadata": job.caller_metadata,
    }


def timeline_object(entry: TimelineEntry) -> dict[str, Any]:
    """One step as the caller reads it."""
    return {
        "step": entry.step,
        "at": iso(entry.at_ms),
        "source": entry.source,
        "http_status": entry.http_status,
        "duration_ms": entry.duration_ms,
        "detail": entry.detail,
    }


def event_body(event_type: str, at_ms: int, data: dict[str, Any]) -> bytes:
    """The document that is stored, signed and sent."""
    return msgspec.json.encode({"type": event_type, "timestamp": iso(at_ms), "data": data})


def transcription_event_body(
    event_type: str, at_ms: int, job: Transcription, base_url: str, summary: dict[str, Any] | None
) -> bytes:
    """For `transcription.*`: the object, the summary of its transcript, and where that is."""
    link = f"{base_url}/v1/transcriptions/{job.id}/transcript"
    data = {**transcription_object(job), "summary": summary, "transcript_url": link}
    return event_body(event_type, at_ms, data)


def error_body(
    status_code: int, error_type: str, message: str, request_id: str, problems: Problems = ()
) -> dict[str, Any]:
    """Soniox's error body."""
    return {
        "status_code": status_code,
        "error_type": error_type,
        "message": message,
        "validation_errors": [
            {"error_type": kind[0] if kind else "value_error", "location": location, "message": text}
            for location, text, *kind in problems
        ],
        "request_id": request_id,
        "more_info": None,
    }


def file_object(file: File) -> dict[str, Any]:
    """Soniox's File object."""
    return {
        "id": file.id,
        "filename": file.filename,
        "size": file.size,
        "created_at": iso(file.created_at_ms),
        "client_reference_id": file.client_reference_id,
    }
