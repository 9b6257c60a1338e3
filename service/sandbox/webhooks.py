"""Send the webhooks of finished jobs: attempts by schedule until a 2xx, subject to faults."""

import asyncio
from collections import Counter, deque
from collections.abc import Coroutine
from dataclasses import asdict, dataclass
from typing import Any

from httpx_aiohttp import HttpxAiohttpClient

from service.sandbox.faults import FaultBoard
from service.sandbox.state import FakeTranscription, SandboxConfig

REMEMBERED_ATTEMPTS = 200


@dataclass(frozen=True)
class WebhookAttempt:
    transcription_id: str
    url: str
    status: str
    status_code: int | None
    error: str | None


class Webhooks:
    def __init__(self, config: SandboxConfig, faults: FaultBoard) -> None:
        self._config = config
        self._faults = faults
        self._running: set[asyncio.Task[None]] = set()
        self._someone_else_went = asyncio.Event()
        self._slots = asyncio.Semaphore(config.webhook_connections)
        self._http = HttpxAiohttpClient(timeout=config.webhook_timeout, trust_env=False)
        self.clear()

    def clear(self) -> None:
        self.tally: Counter[str] = Counter()
        self.attempts: deque[WebhookAttempt] = deque(maxlen=REMEMBERED_ATTEMPTS)

    async def stop(self) -> None:
        await self.cancel()
        await self._http.aclose()

    async def cancel(self) -> None:
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def announce(self, job: FakeTranscription) -> None:
        """Send the job's webhook in the background, dropped or duplicated as the faults require."""
        url = job.request.webhook_url
        if url is None:
            return
        knobs, draw = self._faults.knobs, self._faults.draw
        if draw(knobs.drop_webhook, url):
            self.tally["dropped"] += 1
            job.announced.set()
            return
        duplicate = draw(knobs.duplicate_webhook, url)
        for _ in range(1 + (duplicate.times if duplicate else 0)):
            self._run(self._deliver(job))

    async def send(self, job: FakeTranscription, status: str | None = None) -> WebhookAttempt:
        """Make one attempt now. `status` replaces the job's own, to forge a webhook."""
        async with self._slots:
            attempt = await self._attempt(job, status or job.status_word)
        self.attempts.append(attempt)
        self.tally["attempts"] += 1
        self.tally["delivered" if succeeded(attempt) else "failed"] += 1
        return attempt

    def report(self) -> dict[str, Any]:
        tally = {name: self.tally[name] for name in ("attempts", "delivered", "failed", "dropped", "given_up")}
        return tally | {"in_flight": len(self._running), "latest": [asdict(a) for a in self.attempts]}

    def _run(self, delivery: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(delivery)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _deliver(self, job: FakeTranscription) -> None:
        await self._hold_back(job)
        lie = self._faults.draw(self._faults.knobs.contradict_webhook, job.request.webhook_url)
        if lie and lie.when == "before":
            await self.send(job, opposite(job))
        await self._try_until_accepted(job)
        if lie and lie.when == "after":
            await self.send(job, opposite(job))

    async def _hold_back(self, job: FakeTranscription) -> None:
        """Apply the faults that delay a webhook, for a time or until another is sent, up to a deadline."""
        knobs, draw = self._faults.knobs, self._faults.draw
        if delay := draw(knobs.delay_webhook, job.request.webhook_url):
            await asyncio.sleep(delay.seconds)
        if reorder := draw(knobs.reorder_webhook, job.request.webhook_url):
            self._someone_else_went.clear()
            with_deadline = asyncio.wait_for(self._someone_else_went.wait(), reorder.seconds)
            await asyncio.gather(with_deadline, return_exceptions=True)

    async def _try_until_accepted(self, job: FakeTranscription) -> None:
        for delay in self._config.webhook_delays:
            await asyncio.sleep(delay)
            attempt = await self.send(job)
            if attempt.status_code is not None:
                job.webhook_status_code = attempt.status_code
            job.announced.set()
            self._someone_else_went.set()
            if succeeded(attempt) or self._refused_for_good(attempt):
                return
        self.tally["given_up"] += 1

    def _refused_for_good(self, attempt: WebhookAttempt) -> bool:
        return attempt.status_code in range(400, 500) and not self._config.webhook_retries_4xx

    async def _attempt(self, job: FakeTranscription, status: str) -> WebhookAttempt:
        url, request = str(job.request.webhook_url), job.request
        headers = {"user-agent": "soniox-sandbox"}
        if request.webhook_auth_header_name and request.webhook_auth_header_value is not None:
            headers[request.webhook_auth_header_name] = request.webhook_auth_header_value
        try:
            async with asyncio.timeout(self._config.webhook_timeout):
                answer = await self._http.post(url, json={"id": job.id, "status": status}, headers=headers)
        except Exception as error:  # noqa: BLE001  # any failure of the receiver is a failed attempt
            return WebhookAttempt(job.id, url, status, None, f"{type(error).__name__}: {error}")
        return WebhookAttempt(job.id, url, status, answer.status_code, None)


def succeeded(attempt: WebhookAttempt) -> bool:
    return attempt.status_code in range(200, 300)


def opposite(job: FakeTranscription) -> str:
    return "completed" if job.status == "error" else "error"
