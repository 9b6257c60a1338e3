"""Examples of the OpenAPI document, invented ones, each true to its schema."""

from typing import Any

JOB = "01a1f93b-7eb1-7ce7-8789-bd762a3e5689"
FILE = "01a1f93b-9a40-7d2c-b1c3-0f5b6a7c8d9e"
AT = "2026-11-20T14:00:00.125Z"

SUBMISSION: dict[str, Any] = {
    "model": "stt-async-v5",
    "audio_url": "https://media.example.com/calls/1041.mp3",
    "language_hints": ["en", "de"],
    "enable_speaker_diarization": True,
    "client_reference_id": "call-1041",
    "metadata": {"tenant": "north"},
}

FORM: dict[str, Any] = {"file": "(the bytes of the recording)", "request": {"model": "stt-async-v5"}}

TRANSCRIPTION: dict[str, Any] = {
    "id": JOB,
    "status": "completed",
    "created_at": AT,
    "model": "stt-async-v5",
    "audio_url": "https://media.example.com/calls/1041.mp3",
    "file_id": None,
    "filename": "1041.mp3",
    "language_hints": ["en", "de"],
    "enable_speaker_diarization": True,
    "enable_language_identification": False,
    "audio_duration_ms": 61_500,
    "error_type": None,
    "error_message": None,
    "webhook_url": None,
    "webhook_auth_header_name": None,
    "webhook_auth_header_value": None,
    "webhook_status_code": None,
    "client_reference_id": "call-1041",
    "translation": None,
    "context": None,
    "stage": "completed",
    "soniox_id": "5be3c1c2-0a39-4a4b-9b0e-6e6f1f1f7d11",
    "metadata": {"tenant": "north"},
}

FAILED: dict[str, Any] = {
    **TRANSCRIPTION,
    "status": "error",
    "stage": "failed",
    "error_type": "invalid_audio_file",
    "error_message": "Invalid audio file",
}

STEP: dict[str, Any] = {
    "step": "accepted",
    "at": AT,
    "source": "api",
    "http_status": None,
    "duration_ms": None,
    "detail": None,
}

FILE_OBJECT: dict[str, Any] = {
    "id": FILE,
    "filename": "1041.mp3",
    "size": 984_120,
    "created_at": AT,
    "client_reference_id": "call-1041",
}

COUNT = {"total": 12, "public_api": 12, "playground": 0}

KEY: dict[str, Any] = {
    "id": "key_01a1f93b7e6e7d6aa5e33e50ca4aae80",
    "name": "call centre",
    "scopes": ["read", "submit"],
    "created_at": AT,
    "last_used_at": None,
}

TRANSCRIPT: dict[str, Any] = {
    "id": JOB,
    "text": "Hello there.",
    "tokens": [
        {"text": "Hello", "start_ms": 690, "end_ms": 750, "confidence": 0.99, "speaker": "1", "language": None},
        {"text": " there.", "start_ms": 870, "end_ms": 930, "confidence": 0.97, "speaker": "1", "language": None},
    ],
}

LINK = f"https://relay.example.com/v1/transcriptions/{JOB}/transcript"

# For each status: error_type, message, and the validation errors.
ERRORS: dict[int, tuple[str, str, list[dict[str, str]]]] = {
    400: (
        "invalid_request",
        "Invalid request: Field required",
        [{"error_type": "missing", "location": "body.payload.model", "message": "Field required"}],
    ),
    401: ("unauthenticated", "the key is unknown or was revoked", []),
    403: ("permission_denied", "the key lacks the scope `submit`", []),
    404: ("transcription_not_found", "Transcription not found.", []),
    408: ("request_timeout", "the body did not arrive in time", []),
    409: ("transcription_invalid_state", "The transcription is not completed.", []),
    413: ("request_too_large", "the request is over 262144 bytes", []),
    415: ("unsupported_media_type", "send application/json or multipart/form-data", []),
    422: ("idempotency_key_mismatch", "this Idempotency-Key was used with another request; use a fresh key", []),
    429: ("limit_exceeded", "the key may make 600000 requests per minute", []),
    500: ("internal_error", "an unforeseen error; the request id finds it in the log", []),
    503: ("service_unavailable", "nothing was kept: the database does not answer; try again", []),
}


def error(status_code: int) -> dict[str, Any]:
    """A refusal with this status."""
    error_type, message, problems = ERRORS[status_code]
    return {
        "status_code": status_code,
        "error_type": error_type,
        "message": message,
        "validation_errors": problems,
        "request_id": "req_01a1f93b7e6e7d6aa5e33e50ca4aae80",
        "more_info": None,
    }


EVENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "transcription.completed": (
        "A transcript is stored.",
        {**TRANSCRIPTION, "transcript_url": LINK},
    ),
    "transcription.failed": ("A transcription ended with an error.", {**FAILED, "transcript_url": LINK}),
    "transcription.deleted": (
        "A transcription and its transcript were deleted.",
        {"id": JOB, "client_reference_id": "call-1041", "deleted_at": AT},
    ),
    "endpoint.disabled": (
        "An endpoint answered 410, or failed for too long: nothing is sent to it any more.",
        {
            "id": "ep_01a1f93b7e6e7d6aa5e33e50ca4aae80",
            "url": "https://hooks.example.com/relay",
            "reason": "answered 410",
            "disabled_at": AT,
        },
    ),
    "ping": ("A test that somebody asked for.", {"endpoint_id": "ep_01a1f93b7e6e7d6aa5e33e50ca4aae80"}),
}
