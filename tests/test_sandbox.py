"""The Soniox double, driven over a real socket by the real SDK."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Request, Response
from soniox import AsyncSonioxClient
from soniox.errors import (
    SonioxAPIError,
    SonioxAuthenticationError,
    SonioxConflictError,
    SonioxInvalidRequestError,
    SonioxNotFoundError,
    SonioxRateLimitError,
    SonioxServerError,
)
from soniox.types import CreateTranscriptionConfig, Transcription

from service.sandbox.app import create_sandbox
from service.sandbox.context import SandboxContext
from service.sandbox.speech import recording_path, recording_text
from service.sandbox.state import FakeProject, SandboxConfig
from tests.support.waiting import until

AUDIO_URL = "https://sandbox.invalid/a.wav"
CREATES = "POST /v1/transcriptions"
SECRET = "correct horse"


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[str]:
    """No socket made by hand: without a protocol number asyncio leaves Nagle on, which costs 40 ms a call."""
    config = uvicorn.Config(app, port=0, log_level="warning", lifespan="on", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await running


class Sandbox:
    def __init__(self, url: str, app: FastAPI, sdk: AsyncSonioxClient, http: httpx.AsyncClient) -> None:
        self.url, self.sdk, self.http = url, sdk, http
        self.soniox: FakeProject = app.state.soniox
        self.desk: SandboxContext = app.state.desk

    async def faults(self, **knobs: Any) -> None:
        (await self.http.put("/_sandbox/faults", json=knobs)).raise_for_status()

    async def state(self) -> dict[str, Any]:
        return dict((await self.http.get("/_sandbox/state")).json())

    def failures_at(self, url: str) -> int:
        return sum(attempt.url == url and attempt.error is not None for attempt in self.desk.webhooks.attempts)

    async def create(self, reference: str = "", url: str = AUDIO_URL, **config: Any) -> Transcription:
        options = CreateTranscriptionConfig(**config)
        return await self.sdk.stt.create(audio_url=url, client_reference_id=reference, config=options)

    async def done(self, job: Transcription) -> Transcription:
        return await self.sdk.stt.wait(job.id, interval_sec=0.01, timeout_sec=20)

    async def transcript(self, job: Transcription) -> dict[str, Any]:
        await self.done(job)
        return dict((await self.http.get(f"/v1/transcriptions/{job.id}/transcript")).json())

    async def post(self, **payload: Any) -> httpx.Response:
        defaults = {"model": "stt-async-v5", "audio_url": AUDIO_URL}
        return await self.http.post("/v1/transcriptions", json=defaults | payload)


class Inbox:
    """A webhook receiver: keeps what arrives, answers as it is told."""

    def __init__(self) -> None:
        self.url = ""
        self.received: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.answers: list[int] = []
        self.app = FastAPI()
        self.app.add_api_route("/hook", self.receive, methods=["POST"])

    async def receive(self, request: Request) -> Response:
        body = await request.json()
        assert set(body) == {"id", "status"}
        self.received.append((body["id"], body["status"]))
        self.headers.append(dict(request.headers))
        return Response(status_code=self.answers.pop(0) if self.answers else 200)

    async def of(self, count: int) -> list[tuple[str, str]]:
        await until(lambda: len(self.received) >= count)
        return self.received


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., Any]]:
    async with AsyncExitStack() as stack:

        async def start(**config: Any) -> Sandbox:
            defaults = {"recognise": "script", "processing_ms": 1, "time_factor": 0.01}
            app = create_sandbox(SandboxConfig(**(defaults | config)))
            url = await stack.enter_async_context(served(app))
            key = {"Authorization": "Bearer sandbox-key"}
            http = await stack.enter_async_context(httpx.AsyncClient(base_url=url, headers=key))
            sdk = await stack.enter_async_context(
                AsyncSonioxClient(api_key="sandbox-key", api_base_url=f"{url}/v1")
            )
            return Sandbox(url, app, sdk, http)

        yield start


@pytest.fixture
async def sandbox(start: Callable[..., Awaitable[Sandbox]]) -> Sandbox:
    return await start()


@pytest.fixture
async def inbox() -> AsyncIterator[Inbox]:
    inbox = Inbox()
    async with served(inbox.app) as url:
        inbox.url = f"{url}/hook"
        yield inbox


# --- recognition


async def test_the_recording_is_recognised_word_for_word(start: Callable[..., Any], tmp_path: Path) -> None:
    sandbox = await start(recognise="pocketsphinx")
    uploaded = await sandbox.sdk.files.upload(recording_path())
    config = CreateTranscriptionConfig(enable_speaker_diarization=True, language_hints=["en"])
    job = await sandbox.done(await sandbox.sdk.stt.create(file_id=uploaded.id, config=config))
    assert (job.status, job.audio_duration_ms, job.filename) == ("completed", 7030, "recording.wav")
    transcript = await sandbox.sdk.stt.get_transcript(job.id)
    assert transcript.text == recording_text() == "".join(token.text for token in transcript.tokens)
    body = await sandbox.transcript(job)
    keys = {"text", "start_ms", "end_ms", "confidence", "speaker", "language"}
    keys |= {"is_audio_event", "translation_status"}
    assert all(set(token) == keys for token in body["tokens"])
    assert all(0 < token["confidence"] <= 1 for token in body["tokens"])
    times = [at for token in body["tokens"] for at in (token["start_ms"], token["end_ms"])]
    assert times == sorted(times)
    assert times[-1] <= 7030
    assert {token["speaker"] for token in body["tokens"]} == {"1"}
    assert len(body["tokens"]) > len(recording_text().split())

    broken = tmp_path / "page.wav"
    broken.write_text("<html>not audio</html>")
    uploaded = await sandbox.sdk.files.upload(broken)
    failed = await sandbox.done(await sandbox.sdk.stt.create(file_id=uploaded.id))
    assert (failed.status, failed.error_type) == ("error", "invalid_audio_file")
    with pytest.raises(SonioxConflictError):
        await sandbox.sdk.stt.get_transcript(failed.id)


async def test_audio_is_fetched_from_its_url(sandbox: Sandbox) -> None:
    async def audio(scope: Any, receive: Any, send: Any) -> None:
        await Response(recording_path().read_bytes())(scope, receive, send)

    async with served(FastAPI(routes=[])) as nowhere:
        gone = await sandbox.done(await sandbox.create(url=f"{nowhere}/a.wav"))
    assert (gone.status, gone.error_type) == ("error", "invalid_audio_file")
    app = FastAPI()
    app.mount("/", audio)
    async with served(app) as somewhere:
        assert (await sandbox.done(await sandbox.create(url=f"{somewhere}/a.wav"))).status == "completed"


async def test_diarization_and_language_fill_their_fields_only_when_asked(sandbox: Sandbox) -> None:
    plain = await sandbox.transcript(await sandbox.create("tokens=50,speakers=2"))
    assert len(plain["tokens"]) == 50
    assert plain["text"] == "".join(token["text"] for token in plain["tokens"])
    assert {(token["speaker"], token["language"]) for token in plain["tokens"]} == {(None, None)}
    asked: dict[str, Any] = {"enable_speaker_diarization": True, "enable_language_identification": True}
    rich = await sandbox.transcript(await sandbox.create("tokens=50,speakers=2", **asked))
    assert {(token["speaker"], token["language"]) for token in rich["tokens"]} == {("1", "en"), ("2", "en")}


@pytest.mark.parametrize(
    ("form", "times"), [("zeros", {(0, 0)}), ("null", {(None, None)}), ("absent", {("absent", "absent")})]
)
async def test_translation_tokens_come_in_three_timings(
    sandbox: Sandbox, form: str, times: set[tuple[Any, Any]]
) -> None:
    config: dict[str, Any] = {"translation": {"type": "one_way", "target_language": "es"}}
    body = await sandbox.transcript(await sandbox.create(f"translation={form}", **config))
    translated = [token for token in body["tokens"] if token["translation_status"] == "translation"]
    assert {(t.get("start_ms", "absent"), t.get("end_ms", "absent")) for t in translated} == times
    assert {(t["language"], t["source_language"]) for t in translated} == {("es", "en")}
    originals = [token for token in body["tokens"] if token["translation_status"] == "original"]
    assert len(originals) + len(translated) == len(body["tokens"])


async def test_a_client_scripts_the_outcome_of_its_job(sandbox: Sandbox) -> None:
    empty = await sandbox.create("order 7; outcome=empty")
    assert await sandbox.transcript(empty) == {"id": empty.id, "text": "", "tokens": []}
    failed = await sandbox.done(await sandbox.create(url="https://a.test/outcome=error:odd_slug"))
    assert (failed.status, failed.error_type) == ("error", "odd_slug")
    stuck = await sandbox.create("stuck")
    vanished = await sandbox.create("vanish")
    await until(lambda: vanished.id not in sandbox.soniox.transcriptions)
    assert (await sandbox.sdk.stt.get(stuck.id)).status == "processing"
    with pytest.raises(SonioxConflictError):
        await sandbox.sdk.stt.delete(stuck.id)


# --- the API


async def test_a_wrong_key_is_refused_in_soniox_s_own_error_body(sandbox: Sandbox) -> None:
    answer = await sandbox.http.get("/v1/models", headers={"Authorization": "Bearer other"})
    body = answer.json()
    assert (answer.status_code, body["status_code"], body["error_type"]) == (401, 401, "unauthenticated")
    assert body["request_id"] == answer.headers["x-request-id"]
    assert body["more_info"].endswith("#unauthenticated")
    async with AsyncSonioxClient(api_key="other", api_base_url=f"{sandbox.url}/v1") as sdk:
        with pytest.raises(SonioxAuthenticationError):
            await sdk.models.list()


@pytest.mark.parametrize(
    ("payload", "location"),
    [
        ({"model": "stt-rt-v5"}, "body.payload.model"),
        ({"model": None}, "body.payload.model"),
        ({"audio_url": None}, "body.payload"),
        ({"file_id": "84c32fc6-4fb5-4e7a-b656-b5ec70493753"}, "body.payload"),
        ({"audio_url": "ftp://a/b"}, "body.payload.audio_url"),
        ({"audio_url": None, "file_id": "7"}, "body.payload.file_id"),
        ({"language_hints": ["en", "en"]}, "body.payload.language_hints"),
        ({"language_hints": ["xx"]}, "body.payload.language_hints.0"),
        ({"webhook_url": "https://a.test/" + "x" * 250}, "body.payload.webhook_url"),
        ({"webhook_auth_header_value": "x" * 257}, "body.payload.webhook_auth_header_value"),
        ({"client_reference_id": "x" * 257}, "body.payload.client_reference_id"),
        ({"context": "x" * 10_001}, "body.payload.context"),
        ({"translation": {"type": "one_way"}}, "body.payload.translation"),
    ],
)
async def test_a_bad_create_names_the_field(sandbox: Sandbox, payload: dict[str, Any], location: str) -> None:
    answer = await sandbox.post(**payload)
    assert answer.status_code == 400
    assert answer.json()["error_type"] == "invalid_request"
    assert answer.json()["validation_errors"][0]["location"] == location
    assert not sandbox.soniox.created


async def test_malformed_requests_are_400(sandbox: Sandbox) -> None:
    assert (await sandbox.http.post("/v1/transcriptions", content=b"{")).status_code == 400
    no_file = await sandbox.http.post("/v1/files", files={"other": b"x"})
    assert no_file.json()["validation_errors"][0]["location"] == "file.file"
    unfinished = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhalf'
    multipart = {"Content-Type": "multipart/form-data; boundary=b"}
    assert (await sandbox.http.post("/v1/files", content=unfinished, headers=multipart)).status_code == 400
    assert not sandbox.soniox.files
    assert (await sandbox.http.get("/v1/files/not-a-uuid")).status_code == 400
    for limit in ("0", "1001", "many"):
        answer = await sandbox.http.get("/v1/transcriptions", params={"limit": limit})
        assert answer.status_code == 400
        assert answer.json()["validation_errors"][0]["location"] == "query.payload.limit"
    answer = await sandbox.http.get("/v1/files", params={"cursor": "stale"})
    assert answer.json()["error_type"] == "invalid_cursor"
    assert (await sandbox.http.get("/v1/nothing")).json()["status_code"] == 404


async def test_the_webhook_secret_is_masked_and_the_rest_echoed(sandbox: Sandbox, inbox: Inbox) -> None:
    auth = {"webhook_auth_header_name": "X-Hook", "webhook_auth_header_value": SECRET}
    created = await sandbox.create("mine", webhook_url=inbox.url, **auth)
    assert created.status == "queued"
    job = await sandbox.sdk.stt.get(created.id)
    assert job.webhook_auth_header_value == "*" * 18
    assert (job.webhook_url, job.webhook_auth_header_name) == (inbox.url, "X-Hook")
    assert (job.client_reference_id, job.audio_url, job.model) == ("mine", AUDIO_URL, "stt-async-v5")
    await inbox.of(1)


async def test_listing_is_newest_first_and_survives_inserts_and_deletes(sandbox: Sandbox) -> None:
    jobs = [(await sandbox.create(str(n))).id for n in range(6)]
    await until(lambda: sandbox.soniox.by_status["completed"] == 6)
    first = (await sandbox.http.get("/v1/transcriptions", params={"limit": 2, "cursor": ""})).json()
    assert [job["id"] for job in first["transcriptions"]] == [jobs[5], jobs[4]]
    await sandbox.sdk.stt.delete(jobs[4])
    await sandbox.sdk.stt.delete(jobs[3])
    await sandbox.create("later")
    second = await sandbox.sdk.stt.list(limit=2, cursor=first["next_page_cursor"])
    assert [job.id for job in second.transcriptions] == [jobs[2], jobs[1]]
    third = await sandbox.sdk.stt.list(limit=2, cursor=second.next_page_cursor)
    assert [job.id for job in third.transcriptions] == [jobs[0]]
    assert third.next_page_cursor is None


async def test_files_are_counted_found_listed_and_deleted(sandbox: Sandbox) -> None:
    uploaded = await sandbox.sdk.files.upload(b"12345", filename="a b.wav", client_reference_id="ref")
    assert (uploaded.size, uploaded.filename, uploaded.client_reference_id) == (5, "a b.wav", "ref")
    assert (await sandbox.sdk.files.get(uploaded.id)) == uploaded
    assert (await sandbox.sdk.files.list()).files == [uploaded]
    count = await sandbox.sdk.files.count()
    assert (count.total, count.public_api, count.playground) == (1, 1, 0)
    stored = sandbox.soniox.files[uploaded.id].path
    assert stored.read_bytes() == b"12345"
    await sandbox.sdk.files.delete(uploaded.id)
    assert not stored.exists()
    with pytest.raises(SonioxNotFoundError):
        await sandbox.sdk.files.delete(uploaded.id)


async def test_deleting_a_transcription_leaves_its_file(sandbox: Sandbox) -> None:
    uploaded = await sandbox.sdk.files.upload(b"12345")
    job = await sandbox.done(await sandbox.sdk.stt.create(file_id=uploaded.id))
    await sandbox.sdk.stt.delete(job.id)
    assert await sandbox.sdk.files.get(uploaded.id)
    assert (await sandbox.sdk.stt.count()).total == 0
    await sandbox.faults(cascade_delete=True)
    job = await sandbox.done(await sandbox.sdk.stt.create(file_id=uploaded.id))
    await sandbox.sdk.stt.delete(job.id)
    assert await sandbox.sdk.files.get_or_none(uploaded.id) is None


async def test_a_queued_job_whose_file_is_deleted_fails(start: Callable[..., Any]) -> None:
    sandbox = await start(concurrency=1)
    uploaded = await sandbox.sdk.files.upload(b"12345")
    busy = await sandbox.create("processing_ms=200")
    queued = await sandbox.sdk.stt.create(file_id=uploaded.id)
    await sandbox.sdk.files.delete(uploaded.id)
    with pytest.raises(SonioxConflictError):
        await sandbox.sdk.stt.get_transcript(queued.id)
    with pytest.raises(SonioxConflictError):
        await sandbox.sdk.stt.delete(busy.id)
    assert (await sandbox.done(queued)).error_type == "file_not_found"


async def test_a_client_gone_half_way_through_an_upload_leaves_no_file(sandbox: Sandbox) -> None:
    folder = sandbox.soniox.fresh_path().parent

    async def half() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + b"x" * 100_000
        await until(lambda: bool(list(folder.iterdir())))
        raise RuntimeError("gone")

    headers = {"Content-Type": "multipart/form-data; boundary=b", "Content-Length": "1000000"}
    with pytest.raises(RuntimeError, match="gone"):
        await sandbox.http.post("/v1/files", content=half(), headers=headers)
    await until(lambda: not list(folder.iterdir()))
    assert not sandbox.soniox.files


async def test_models_and_usage_are_listed(sandbox: Sandbox) -> None:
    models = (await sandbox.sdk.models.list()).models
    asynchronous = {model.id: model for model in models if model.transcription_mode == "async"}
    assert len(asynchronous["stt-async-v5"].languages) == 60
    assert asynchronous["stt-async-v4"].aliased_model_id == "stt-async-v5"
    for name in ("one", "two", "three"):
        await sandbox.done(await sandbox.create(name))
    now = datetime.now(UTC)
    start, end = (now - timedelta(hours=1)).isoformat(), (now + timedelta(hours=1)).isoformat()
    entries = [entry async for entry in sandbox.sdk.usage_logs.list_all(start, end, limit=2)]
    assert [entry.client_reference_id for entry in entries] == ["one", "two", "three"]
    with pytest.raises(SonioxInvalidRequestError):
        await sandbox.sdk.usage_logs.list((now - timedelta(days=40)).isoformat(), end)


# --- quotas


async def test_each_quota_refuses_with_its_own_message(start: Callable[..., Any]) -> None:
    quotas = {"max_files": 2, "max_total_bytes": 10, "max_transcriptions": 3, "max_pending": 2, "concurrency": 1}
    sandbox = await start(max_file_bytes=8, **quotas)
    sdk = sandbox.sdk
    with pytest.raises(SonioxInvalidRequestError, match="maximum file size"):
        await sdk.files.upload(b"123456789")
    await sdk.files.upload(b"12345678")
    with pytest.raises(SonioxRateLimitError, match="Total file size"):
        await sdk.files.upload(b"123")
    await sdk.files.upload(b"12")
    with pytest.raises(SonioxRateLimitError, match=r"Total file count limit.*Please delete some"):
        await sdk.files.upload(b"")
    await sandbox.create("processing_ms=500")
    await until(lambda: sandbox.soniox.by_status["processing"] == 1)
    await sandbox.create("two")
    await sandbox.create("three")
    with pytest.raises(SonioxRateLimitError, match="Total transcription count limit"):
        await sandbox.create("four")
    state = await sandbox.state()
    refusals = {"rate": 0, "files": 1, "bytes": 1, "transcriptions": 1, "pending": 0}
    assert state["quota_refusals"] == refusals
    marks = {"pending": 2, "transcriptions": 3, "files": 2, "bytes": 10}
    assert state["high_water"] == marks | {"requests_per_minute": 9}


async def test_pending_jobs_and_requests_are_limited(start: Callable[..., Any]) -> None:
    sandbox = await start(max_pending=1, concurrency=1, requests_per_minute=4)
    await sandbox.create("processing_ms=500")
    await until(lambda: sandbox.soniox.by_status["processing"] == 1)
    await sandbox.create("two")
    with pytest.raises(SonioxRateLimitError, match="Pending"):
        await sandbox.create("three")
    await sandbox.sdk.files.count()
    with pytest.raises(SonioxRateLimitError, match="Requests per minute limit for file management") as caught:
        await sandbox.sdk.files.count()
    assert caught.value.api_error
    assert caught.value.api_error.error_type == "limit_exceeded"
    assert (await sandbox.state())["quota_refusals"]["rate"] == 1


async def test_another_project_can_use_up_the_organization_s_files(sandbox: Sandbox) -> None:
    await sandbox.faults(files_elsewhere=1000)
    assert (await sandbox.sdk.files.count()).total == 0
    with pytest.raises(SonioxRateLimitError, match="Total file count"):
        await sandbox.sdk.files.upload(b"1")


# --- webhooks


async def test_the_webhook_carries_id_status_and_the_chosen_header(sandbox: Sandbox, inbox: Inbox) -> None:
    auth = {"webhook_auth_header_name": "X-Hook", "webhook_auth_header_value": SECRET}
    good = await sandbox.create(webhook_url=inbox.url, **auth)
    await inbox.of(1)
    bad = await sandbox.create("outcome=error:invalid_audio_file", webhook_url=inbox.url, **auth)
    assert await inbox.of(2) == [(good.id, "completed"), (bad.id, "error")]
    assert {headers["x-hook"] for headers in inbox.headers} == {SECRET}
    assert inbox.headers[0]["content-type"] == "application/json"
    await until(lambda: sandbox.soniox.created[bad.id].webhook_status_code == 200)
    assert (await sandbox.sdk.stt.get(good.id)).webhook_status_code == 200


async def test_a_webhook_is_tried_again_until_2xx(sandbox: Sandbox, inbox: Inbox) -> None:
    inbox.answers = [500, 302, 204]
    job = await sandbox.create(webhook_url=inbox.url)
    assert await inbox.of(3) == [(job.id, "completed")] * 3
    await until(lambda: sandbox.soniox.created[job.id].webhook_status_code == 204)
    unreachable = await sandbox.create(webhook_url="http://127.0.0.1:1/")
    await until(lambda: sandbox.failures_at("http://127.0.0.1:1/") >= 2)
    assert (await sandbox.sdk.stt.get(unreachable.id)).webhook_status_code is None


async def test_a_webhook_can_be_redelivered_and_forged(sandbox: Sandbox, inbox: Inbox) -> None:
    job = await sandbox.create(webhook_url=inbox.url, webhook_auth_header_name="A", webhook_auth_header_value="b")
    await inbox.of(1)
    await sandbox.sdk.stt.delete(job.id)
    again = await sandbox.http.post(f"/_sandbox/redeliver/{job.id}")
    assert again.json()["status_code"] == 200
    await sandbox.http.post(f"/_sandbox/redeliver/{job.id}", json={"status": "error"})
    assert [status for _, status in inbox.received] == ["completed", "completed", "error"]
    (seen,) = (await sandbox.http.get("/_sandbox/transcriptions")).json()["transcriptions"]
    assert (seen["deleted"], seen["webhook_auth_header_value"]) == (True, "b")


async def test_webhooks_are_dropped_duplicated_and_contradicted(sandbox: Sandbox, inbox: Inbox) -> None:
    await sandbox.faults(drop_webhook={"remaining": 1}, duplicate_webhook={"times": 2, "remaining": 1})
    await sandbox.done(await sandbox.create(webhook_url=inbox.url))
    twice = await sandbox.create(webhook_url=inbox.url)
    assert await inbox.of(3) == [(twice.id, "completed")] * 3
    inbox.received.clear()
    await sandbox.faults(contradict_webhook={"when": "before"})
    await sandbox.create(webhook_url=inbox.url)
    assert [status for _, status in await inbox.of(2)] == ["error", "completed"]
    assert (await sandbox.state())["webhooks"]["dropped"] == 1


async def test_webhooks_are_late_early_and_out_of_order(sandbox: Sandbox, inbox: Inbox) -> None:
    await sandbox.faults(delay_webhook={"seconds": 0.2, "remaining": 1})
    await sandbox.done(await sandbox.create(webhook_url=inbox.url))
    assert not inbox.received
    await inbox.of(1)
    await sandbox.faults(early_webhook=True)
    early = await sandbox.create(webhook_url=inbox.url)
    assert (early.status, inbox.received[-1]) == ("queued", (early.id, "completed"))
    await sandbox.faults(reorder_webhook={"remaining": 1, "seconds": 2})
    first = await sandbox.done(await sandbox.create(webhook_url=inbox.url))
    second = await sandbox.create(webhook_url=inbox.url)
    assert [job_id for job_id, _ in (await inbox.of(4))[2:]] == [second.id, first.id]


# --- other faults


async def test_get_can_lag_behind_the_webhook(sandbox: Sandbox, inbox: Inbox) -> None:
    await sandbox.faults(lag={"ms": 200})
    job = await sandbox.create(webhook_url=inbox.url)
    await inbox.of(1)
    assert (await sandbox.sdk.stt.get(job.id)).status == "processing"
    with pytest.raises(SonioxConflictError):
        await sandbox.sdk.stt.get_transcript(job.id)
    assert (await sandbox.done(job)).status == "completed"


@pytest.mark.parametrize("how", [{"how": "cut"}, {"how": "hang", "hang_seconds": 0.1}])
async def test_a_create_whose_answer_is_lost_has_still_made_its_job(
    sandbox: Sandbox, how: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    await sandbox.faults(lose_answer={"remaining": 1} | how)
    with pytest.raises(httpx.RemoteProtocolError):
        await sandbox.create("lost")
    assert [job.request.client_reference_id for job in sandbox.soniox.created.values()] == ["lost"]
    await sandbox.create("kept")
    assert capfd.readouterr().err == ""


async def test_an_accepted_create_or_upload_can_answer_500(sandbox: Sandbox) -> None:
    await sandbox.faults(lose_answer=[{"how": "status"}, {"how": "cut", "match": "POST /v1/files"}])
    with pytest.raises(SonioxServerError):
        await sandbox.create()
    with pytest.raises(httpx.RemoteProtocolError):
        await sandbox.sdk.files.upload(b"1")
    assert (len(sandbox.soniox.transcriptions), len(sandbox.soniox.files)) == (1, 1)


async def test_a_reset_connection_has_done_nothing(sandbox: Sandbox) -> None:
    await sandbox.faults(reset={"match": CREATES})
    with pytest.raises(httpx.TransportError):
        await sandbox.create()
    assert not sandbox.soniox.created
    assert (await sandbox.sdk.stt.count()).total == 0


@pytest.mark.parametrize(
    ("status", "error_type"),
    [
        (401, "unauthenticated"),
        (402, "organization_balance_exhausted"),
        (403, "permission_denied"),
        (429, "limit_exceeded"),
        (500, "internal_error"),
        (503, "service_unavailable"),
    ],
)
async def test_any_refusal_can_be_ordered(sandbox: Sandbox, status: int, error_type: str) -> None:
    await sandbox.faults(refuse={"status": status, "remaining": 1, "retry_after": "7"})
    with pytest.raises(SonioxAPIError) as caught:
        await sandbox.create()
    assert caught.value.api_error
    assert caught.value.response
    assert (caught.value.status_code, caught.value.api_error.error_type) == (status, error_type)
    assert caught.value.response.headers["retry-after"] == "7"
    assert await sandbox.create()


async def test_answers_can_be_html_truncated_and_slow(sandbox: Sandbox) -> None:
    await sandbox.faults(refuse={"status": 502, "html": True, "remaining": 1})
    assert "<html>" in (await sandbox.http.get("/v1/models")).text
    await sandbox.faults(truncate=True, slow={"ms": 60, "jitter_ms": 10})
    answer = await sandbox.http.get("/v1/models")
    assert answer.elapsed >= timedelta(milliseconds=60)
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        answer.json()


async def test_jobs_can_vanish_stick_and_fail_by_another_word(sandbox: Sandbox) -> None:
    await sandbox.faults(
        vanish={"match": "v*"},
        stick={"match": "s*"},
        odd_status=True,
        list_order="oldest",
        malformed_id_status=404,
    )
    vanishing, sticking = await sandbox.create("v"), await sandbox.create("s")
    failing = await sandbox.create("outcome=error:invalid_audio_file")
    await until(lambda: failing.id in sandbox.soniox.created and sandbox.soniox.by_status["error"] == 1)
    assert await sandbox.sdk.stt.get_or_none(vanishing.id) is None
    listed = (await sandbox.http.get("/v1/transcriptions")).json()["transcriptions"]
    assert [(job["id"], job["status"]) for job in listed] == [(sticking.id, "processing"), (failing.id, "failed")]
    assert (await sandbox.http.get("/v1/transcriptions/7")).status_code == 404


async def test_a_create_can_refuse_an_unknown_file(sandbox: Sandbox) -> None:
    missing = str(uuid4())
    assert (await sandbox.done(await sandbox.sdk.stt.create(file_id=missing))).error_type == "file_not_found"
    await sandbox.faults(missing_file="refuse")
    with pytest.raises(SonioxNotFoundError):
        await sandbox.sdk.stt.create(file_id=missing)


async def test_the_control_api_merges_counts_and_resets(sandbox: Sandbox) -> None:
    await sandbox.faults(refuse=0.5)
    patched = (await sandbox.http.patch("/_sandbox/faults", json={"reset": {"remaining": 0}})).json()
    assert (patched["refuse"][0]["probability"], patched["reset"][0]["remaining"]) == (0.5, 0)
    assert (await sandbox.http.patch("/_sandbox/faults", json={"typo": 1})).status_code == 422
    answers = [(await sandbox.http.get("/v1/files/count")).status_code for _ in range(40)]
    assert set(answers) == {200, 500}
    assert (await sandbox.http.get("/_sandbox/faults")).json()["refuse"][0]["fired"] == answers.count(500)
    await sandbox.http.put("/_sandbox/faults", json={})
    await sandbox.create(webhook_url="http://127.0.0.1:1/?job=1")
    state = await sandbox.state()
    assert state["calls"] == {"GET /v1/files/count": 40, CREATES: 1}
    assert state["creates_by_webhook_url"] == {"http://127.0.0.1:1/?job=1": 1}
    assert (await sandbox.http.post("/_sandbox/reset")).status_code == 204
    assert (await sandbox.state())["counts"]["created_ever"] == 0
    assert (await sandbox.done(await sandbox.create())).status == "completed"


@pytest.mark.parametrize("number", [240, pytest.param(2000, marks=pytest.mark.long)])
async def test_many_jobs_at_once_are_all_done_and_told(
    start: Callable[..., Any], inbox: Inbox, number: int
) -> None:
    sandbox = await start(requests_per_minute=None, max_pending=number)

    async def create_many(count: int) -> None:
        for _ in range(count):
            (await sandbox.post(webhook_url=inbox.url)).raise_for_status()

    await asyncio.gather(*(create_many(number // 8) for _ in range(8)))
    await until(lambda: len(set(inbox.received)) == number, 100)
    assert sandbox.soniox.by_status["completed"] == number
