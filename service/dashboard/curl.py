"""A job as the curl command that submits it again. The key in it is `$RELAY_API_KEY`, never a real one. Pure."""

import json
import re
import shlex
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from service.tables import Transcription

HIDDEN = "***"
SECRET_NAMES = re.compile(r"sig|token|key|secret|password|credential|auth|expires|policy|session", re.IGNORECASE)
LONG = 24  # characters: a value like this is a signature or a token more often than not


def as_curl(job: Transcription, base_url: str) -> str:
    """For a shell. Secrets in the recording's address and the callback's header value are hidden as well."""
    body = json.dumps(request_of(job), ensure_ascii=False, indent=2)
    lines = [
        f"curl {shlex.quote(base_url + '/v1/transcriptions')}",
        '-H "Authorization: Bearer $RELAY_API_KEY"',
        "-H 'Content-Type: application/json'",
        f"-d {shlex.quote(body)}",
    ]
    return " \\\n  ".join(lines)


def request_of(job: Transcription) -> dict[str, Any]:
    """What the caller asked for, with secrets hidden."""
    callback = {"webhook_url": job.callback_url, "webhook_auth_header_name": job.callback_header}
    if job.callback_secret_sealed:
        callback["webhook_auth_header_value"] = HIDDEN
    asked = {**job.request, **callback, "metadata": job.caller_metadata}
    if job.file_id:
        asked["file_id"] = job.file_id
    urls = ("audio_url", "webhook_url")
    return {
        name: without_secrets(value) if name in urls and isinstance(value, str) else value
        for name, value in asked.items()
        if value is not None
    }


def without_secrets(url: str) -> str:
    """The address with what looks like a secret in it hidden: passwords, signatures, tokens."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return HIDDEN
    host = parts.netloc.rpartition("@")[2]
    netloc = f"{HIDDEN}@{host}" if host != parts.netloc else host
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    query = "&".join(f"{quote(name)}={_shown(name, value)}" for name, value in pairs)
    return urlunsplit((parts.scheme, netloc, parts.path, query, ""))


def _shown(name: str, value: str) -> str:
    return HIDDEN if SECRET_NAMES.search(name) or len(value) >= LONG else quote(value, safe="/:,")
