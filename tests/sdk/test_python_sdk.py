"""Soniox's own Python SDK against the relay: every async method of `stt`, `files` and `models`."""

import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from soniox.errors import (
    SonioxAuthenticationError,
    SonioxConflictError,
    SonioxInvalidRequestError,
    SonioxNotFoundError,
    SonioxPermissionDeniedError,
    SonioxRateLimitError,
)
from soniox.types import CreateTranscriptionConfig, StructuredContext, WebhookAuthConfig

from tests.sdk.clients import Sdk, details_of, headers_of, sdk_of
from tests.support.relay_app import ADMIN_KEY, AUDIO, RelayApp, as_json, open_relay_app

pytestmark = pytest.mark.one_database  # an SDK meets HTTP alone

QUICK: dict[str, Any] = {"wait_interval_sec": 0.05, "wait_timeout_sec": 15}
NOWHERE = "0b7f9c3e-6c0e-4f0e-9a53-2f0f8f1f7d11"


@pytest.fixture(params=["sync", "async"])
async def sdk(request: pytest.FixtureRequest, relay_app: RelayApp) -> AsyncIterator[Sdk]:
    async for opened in sdk_of(request.param, relay_app.server.url, ADMIN_KEY):
        yield opened


async def test_every_method_of_the_sdk_does_what_it_does_at_soniox(
    sdk: Sdk, relay_app: RelayApp, tmp_path: Path
) -> None:
    await _transcribe(sdk, tmp_path)
    await _translate(sdk)
    await _callback(sdk, relay_app)
    await _list_and_delete(sdk)
    await _files(sdk)
    models = (await sdk.models.list()).models
    assert "stt-async-v5" in {model.id for model in models}
    never = sdk.stt.never_called() | sdk.files.never_called() | sdk.models.never_called()
    assert never == set()


async def _transcribe(sdk: Sdk, tmp_path: Path) -> None:
    config = CreateTranscriptionConfig(
        language_hints=["en"],
        enable_speaker_diarization=True,
        context=StructuredContext(general={"domain": "tests"}, terms=["relay"]),
    )
    created = await sdk.stt.create(audio_url=AUDIO, client_reference_id="mine", config=config)
    assert (created.status, created.client_reference_id, created.language_hints) == ("queued", "mine", ["en"])
    done = await sdk.stt.wait(created.id, interval_sec=0.05, timeout_sec=15)
    assert done.status == "completed"
    assert (await sdk.stt.get(created.id)).audio_duration_ms > 0
    transcript = await sdk.stt.get_transcript(created.id)
    assert transcript.id == created.id
    assert "".join(token.text for token in transcript.tokens) == transcript.text != ""
    assert await sdk.stt.get_or_none(NOWHERE) is None

    path = tmp_path / "talk.wav"
    path.write_bytes(b"audio")
    uploaded = await sdk.files.upload(path)
    by_url = await sdk.stt.transcribe_from_url(audio_url=AUDIO)
    by_id = await sdk.stt.transcribe_from_file_id(file_id=uploaded.id)
    by_file = await sdk.stt.transcribe_from_file(file=path)
    some = [await sdk.stt.transcribe(**audio) for audio in _each_source(uploaded.id)]
    assert by_id.file_id == uploaded.id
    assert by_file.filename == "talk.wav"
    for job in (by_url, by_id, by_file, *some):
        assert (await sdk.stt.wait(job.id, interval_sec=0.05, timeout_sec=15)).status == "completed"

    kept = await sdk.stt.transcribe_and_wait(audio_url=AUDIO, **QUICK)
    assert kept.status == "completed"
    tokens = await sdk.stt.transcribe_and_wait_with_tokens(file=b"audio", delete_after=True, **QUICK)
    assert tokens.tokens
    assert await sdk.stt.get_or_none(tokens.id) is None


def _each_source(file_id: str) -> list[dict[str, Any]]:
    return [
        {"audio_url": AUDIO},
        {"file_id": file_id},
        {"file": b"audio", "filename": "b.wav"},
        {"file": io.BytesIO(b"x")},
    ]


async def _translate(sdk: Sdk) -> None:
    uploaded = await sdk.files.upload(b"audio")
    jobs = [
        await sdk.stt.translate(audio_url=AUDIO, to="de", source="en"),
        await sdk.stt.translate_from_url(audio_url=AUDIO, between=("en", "de")),
        await sdk.stt.translate_from_file_id(file_id=uploaded.id, to="de"),
        await sdk.stt.translate_from_file(file=b"audio", to="fr"),
    ]
    assert all(job.enable_language_identification for job in jobs)
    done = await sdk.stt.translate_and_wait(audio_url=AUDIO, to="de", **QUICK)
    assert done.status == "completed"
    transcript = await sdk.stt.translate_and_wait_with_tokens(audio_url=AUDIO, to="de", **QUICK)
    assert {token.translation_status for token in transcript.tokens} >= {"original", "translation"}


async def _callback(sdk: Sdk, relay_app: RelayApp) -> None:
    job = await sdk.stt.transcribe_file_with_webhook(
        file=b"audio",
        webhook_url=f"{relay_app.receiver_url}/mine",
        webhook_auth=WebhookAuthConfig(name="X-Mine", value="abc"),
    )
    assert job.webhook_auth_header_value == "*" * 18
    await relay_app.until_received("/mine")
    received = relay_app.receiver.at("/mine")[0]
    assert as_json(received.body) == {"id": job.id, "status": "completed"}
    assert received.headers["x-mine"] == "abc"


async def _list_and_delete(sdk: Sdk) -> None:
    total = (await sdk.stt.count()).total
    page = await sdk.stt.list(limit=2)
    rest = await sdk.stt.list(limit=1000, cursor=page.next_page_cursor)
    everything = await sdk.stt.list_all(limit=3)
    ids = [job.id for job in everything]
    assert ids == [job.id for job in page.transcriptions + rest.transcriptions]
    assert len(set(ids)) == total > 10

    await sdk.stt.delete(ids[0])
    with pytest.raises(SonioxNotFoundError) as missing:
        await sdk.stt.delete(ids[0])
    assert details_of(missing.value).error_type == "transcription_not_found"
    await sdk.stt.delete_if_exists(ids[0])
    with_file = next(job for job in everything[1:] if job.file_id)
    await sdk.stt.destroy(with_file.id)
    assert await sdk.files.get_or_none(with_file.file_id) is None
    await sdk.stt.destroy_all(limit=4)
    assert (await sdk.stt.count()).total == 0
    await sdk.stt.create(audio_url=AUDIO)
    await sdk.stt.delete_all()
    assert (await sdk.stt.count()).total == 0


async def _files(sdk: Sdk) -> None:
    await sdk.files.delete_all()
    first = await sdk.files.upload(b"12345", filename="one.wav", client_reference_id="ref")
    assert (first.filename, first.size, first.client_reference_id) == ("one.wav", 5, "ref")
    assert (await sdk.files.get(first.id)) == first
    second = await sdk.files.upload(io.BytesIO(b""), filename="empty.wav")
    assert (await sdk.files.count()).total == 2
    assert [file.id for file in (await sdk.files.list(limit=1)).files] == [second.id]
    assert [file.id for file in await sdk.files.list_all(limit=1)] == [second.id, first.id]
    await sdk.files.delete(first.id)
    await sdk.files.delete_if_exists(first.id)
    with pytest.raises(SonioxNotFoundError) as missing:
        await sdk.files.delete(first.id)
    assert details_of(missing.value).error_type == "file_not_found"


async def test_refusals_arrive_as_the_sdks_own_exceptions(sdk: Sdk, relay_app: RelayApp) -> None:
    with pytest.raises(SonioxInvalidRequestError) as invalid:
        await sdk.stt.create(model="no-such-model", audio_url=AUDIO)
    error = details_of(invalid.value)
    assert (error.error_type, error.status_code) == ("invalid_request", 400)
    assert [problem.location for problem in error.validation_errors] == ["body.payload.model"]
    assert error.request_id
    assert invalid.value.request_id == error.request_id == headers_of(invalid.value)["x-request-id"]

    with pytest.raises(SonioxInvalidRequestError) as cursor:
        await sdk.stt.list(cursor="nonsense")
    assert details_of(cursor.value).error_type == "invalid_cursor"
    await relay_app.faults(slow=[{"ms": 3000, "match": "POST /v1/transcriptions"}])
    waiting = await sdk.stt.create(audio_url=AUDIO)
    with pytest.raises(SonioxConflictError) as unfinished:
        await sdk.stt.get_transcript(waiting.id)
    assert details_of(unfinished.value).error_type == "transcription_invalid_state"


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_trouble_with_the_key_arrives_as_the_sdks_own_exceptions(database_url: str, kind: str) -> None:
    async with open_relay_app(database_url, relay_key_requests_per_minute=3) as relay_app:
        made = await relay_app.client.post("/v1/keys", json={"name": "reader", "scopes": ["read"]})
        async for stranger in sdk_of(kind, relay_app.server.url, "srk_nobody"):
            with pytest.raises(SonioxAuthenticationError) as unknown:
                await stranger.stt.count()
            assert details_of(unknown.value).error_type == "unauthenticated"
        async for reader in sdk_of(kind, relay_app.server.url, made.json()["key"]):
            with pytest.raises(SonioxPermissionDeniedError):
                await reader.stt.create(audio_url=AUDIO)
            await reader.stt.count()
            await reader.stt.count()
            with pytest.raises(SonioxRateLimitError) as spent:
                await reader.stt.count()
            assert details_of(spent.value).error_type == "limit_exceeded"
            assert int(headers_of(spent.value)["retry-after"]) <= 20
