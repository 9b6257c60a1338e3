"""Where a job's audio comes from: an uploaded file, or a URL fetched when processing starts."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from service.sandbox.config import SandboxConfig
from service.sandbox.errors import SonioxError, file_not_found
from service.sandbox.memory import Soniox, Transcription

# Hosts that RFC 2606 reserves: nothing can be fetched there, so a script is all such a URL can carry.
_RESERVED_HOST = re.compile(r"(.*\.)?(invalid|test|example|example\.(com|net|org))", re.IGNORECASE)


def is_script_only(url: str) -> bool:
    try:
        return bool(_RESERVED_HOST.fullmatch(httpx.URL(url).host))
    except httpx.InvalidURL:
        return False  # fetching it will fail, and say so


@asynccontextmanager
async def audio_of(
    job: Transcription, soniox: Soniox, config: SandboxConfig, http: httpx.AsyncClient
) -> AsyncIterator[Path | None]:
    """The audio on disk for as long as the block lasts; None when there is only a script."""
    url = job.request.audio_url
    if url is None:
        stored = soniox.files.get(str(job.request.file_id))
        if stored is None:
            raise file_not_found()
        yield stored.path
    elif config.recognise == "script" and is_script_only(url):
        yield None
    else:
        path = soniox.fresh_path()
        try:
            await _fetch(url, path, config, http)
            yield path
        finally:
            path.unlink(missing_ok=True)


async def _fetch(url: str, path: Path, config: SandboxConfig, http: httpx.AsyncClient) -> None:
    try:
        async with http.stream("GET", url, follow_redirects=True) as answer:
            answer.raise_for_status()
            await _save(answer, path, config.max_file_bytes)
    except Exception as error:  # whatever its host does means that there is no audio
        reason = f"Audio could not be fetched: {type(error).__name__}"
        raise SonioxError(400, config.audio_url_error_type, reason) from error


async def _save(answer: httpx.Response, path: Path, most: int) -> None:
    with path.open("wb") as out:
        async for chunk in answer.aiter_bytes():
            out.write(chunk)
            if out.tell() > most:
                raise ValueError("too large")
