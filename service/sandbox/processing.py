"""Process jobs. The audio is an uploaded file, or a URL that is fetched when processing starts."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from httpx_aiohttp import HttpxAiohttpClient

from service.sandbox.faults import FaultBoard
from service.sandbox.recogniser import Recogniser
from service.sandbox.schemas import ApiError, file_not_found
from service.sandbox.state import FakeProject, FakeTranscription, SandboxConfig, timestamp
from service.sandbox.tokens import NOMINAL_SPAN_MS, TOKEN_MS, scripted_tokens, tokens_of_words, transcript
from service.sandbox.webhooks import Webhooks

# Hosts that RFC 2606 reserves: they cannot be fetched, so such a URL can only carry a script.
_RESERVED_HOST = re.compile(r"(.*\.)?(invalid|test|example|example\.(com|net|org))", re.IGNORECASE)


def is_script_only(url: str) -> bool:
    try:
        return bool(_RESERVED_HOST.fullmatch(httpx.URL(url).host))
    except httpx.InvalidURL:
        return False  # the fetch fails and reports why


@asynccontextmanager
async def audio_of(
    job: FakeTranscription, soniox: FakeProject, config: SandboxConfig, http: httpx.AsyncClient
) -> AsyncIterator[Path | None]:
    """Yield the path of the audio until the block ends, or None for a script without audio. Raises ApiError."""
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
    except Exception as error:  # any failure of the host means that there is no audio
        reason = f"Audio could not be fetched: {type(error).__name__}"
        raise ApiError(400, config.audio_url_error_type, reason) from error


async def _save(answer: httpx.Response, path: Path, most: int) -> None:
    with path.open("wb") as out:
        async for chunk in answer.aiter_bytes():
            out.write(chunk)
            if out.tell() > most:
                raise ValueError("too large")


class Processing:
    def __init__(self, config: SandboxConfig, soniox: FakeProject, faults: FaultBoard, webhooks: Webhooks) -> None:
        self._config = config
        self._soniox = soniox
        self._faults = faults
        self._webhooks = webhooks
        self._queue: asyncio.Queue[FakeTranscription] = asyncio.Queue()
        self._workers: list[asyncio.Task[None]] = []
        self._recogniser = Recogniser()
        self._http = HttpxAiohttpClient(timeout=config.audio_url_timeout, trust_env=False)

    def start(self) -> None:
        self._workers = [asyncio.create_task(self._work()) for _ in range(self._config.workers)]

    async def stop(self) -> None:
        await self._dismiss()
        await self._recogniser.close()
        await self._http.aclose()

    async def restart(self) -> None:
        await self._dismiss()
        self._queue = asyncio.Queue()
        self.start()

    def enqueue(self, job: FakeTranscription) -> None:
        self._queue.put_nowait(job)

    async def _dismiss(self) -> None:
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            job = await self._queue.get()
            if not job.deleted:
                await self._process(job)

    async def _process(self, job: FakeTranscription) -> None:
        """Process one job. A stuck job keeps its status but frees its worker, so that other jobs continue."""
        self._soniox.move(job, "processing")
        knobs, reference = self._faults.knobs, job.request.client_reference_id
        if job.script.stuck or self._faults.draw(knobs.stick, reference):
            return
        started = datetime.now(UTC)
        least = max(self._config.processing_ms, job.script.processing_ms) / 1000
        _, failure = await asyncio.gather(asyncio.sleep(least), self._transcribe(job))
        if job.script.vanish or self._faults.draw(knobs.vanish, reference):
            self._soniox.forget(job)
        else:
            self._finish(job, failure, started)

    async def _transcribe(self, job: FakeTranscription) -> ApiError | None:
        try:
            await self._recognise(job)
        except ApiError as error:
            return error
        return None

    async def _recognise(self, job: FakeTranscription) -> None:
        script, request = job.script, job.request
        async with audio_of(job, self._soniox, self._config, self._http) as path:
            if script.error_type:
                raise ApiError(400, script.error_type, "The script asked for this failure")
            if script.empty:
                job.audio_duration_ms, tokens = 1000, []
            elif self._config.recognise == "script" or path is None:
                tokens = await asyncio.to_thread(scripted_tokens, script, request)
                job.audio_duration_ms = script.tokens * TOKEN_MS + NOMINAL_SPAN_MS
            else:
                heard = await self._recogniser.hear(path)
                job.audio_duration_ms, tokens = heard.duration_ms, tokens_of_words(heard.words, request)
        job.transcript = transcript(tokens)

    def _finish(self, job: FakeTranscription, failure: ApiError | None, started: datetime) -> None:
        reference, knobs = job.request.client_reference_id, self._faults.knobs
        if lag := self._faults.draw(knobs.lag, reference):
            job.shown_done_from = asyncio.get_running_loop().time() + lag.ms / 1000
        if failure:
            job.error_type, job.error_message = failure.error_type, failure.message
            odd = self._faults.draw(knobs.odd_status, reference)
            job.error_word = odd.word if odd else "error"
        self._soniox.move(job, "error" if failure else "completed")
        self._soniox.usage.append(_usage_entry(job, started))
        self._webhooks.announce(job)


def _usage_entry(job: FakeTranscription, started: datetime) -> dict[str, Any]:
    """Return the usage log entry of a job, at Soniox's published price of 0.10 USD per hour of audio."""
    duration = job.audio_duration_ms or 0
    cost = f"{duration / 3_600_000 * 0.10:.6f}"
    nothing = "0.000000"
    return {
        "uuid": str(uuid4()),
        "request_scope": "api",
        "client_reference_id": job.request.client_reference_id or "",
        "model": job.request.model,
        "start_time": timestamp(started),
        "end_time": timestamp(datetime.now(UTC)),
        "input_text_tokens": 0,
        "input_audio_tokens": duration // 120,
        "input_audio_duration_ms": duration,
        "output_text_tokens": len(job.transcript["tokens"]) if job.transcript else 0,
        "output_audio_tokens": 0,
        "output_audio_duration_ms": 0,
        "cost_usd": cost,
        "input_cost_usd": cost,
        "input_text_cost_usd": nothing,
        "input_audio_cost_usd": cost,
        "output_cost_usd": nothing,
        "output_text_cost_usd": nothing,
        "output_audio_cost_usd": nothing,
    }
