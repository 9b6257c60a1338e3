"""What POST /v1/transcriptions takes, refuses and repeats."""

import asyncio
import json
from typing import Any

import httpx
from sqlalchemy import func
from sqlmodel import select

from service.tables import File, FileChunk, Transcription, table_of
from tests.support.relay_app import AUDIO, MODEL, RelayApp, open_relay_app
from tests.support.rows import all_of

GOOD: dict[str, Any] = {"model": MODEL, "audio_url": AUDIO}
FILE_ID = "0b7f9c3e-6c0e-4f0e-9a53-2f0f8f1f7d11"


async def rows_of(relay_app: RelayApp, model: type[Any]) -> int:
    query = select(func.count()).select_from(table_of(model))
    return await relay_app.relay.db.read(lambda session: session.exec(query).one())


async def post(relay_app: RelayApp, body: dict[str, Any], key: str | None = None) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return await relay_app.client.post("/v1/transcriptions", json=body, headers=headers)


async def post_form(relay_app: RelayApp, audio: bytes, body: Any = None, key: str | None = None) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    parts: dict[str, Any] = {
        "file": ("a.wav", audio),
        "request": (None, json.dumps(body or {"model": MODEL}), "application/json"),
    }
    return await relay_app.client.post("/v1/transcriptions", files=parts, headers=headers)


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"model": None}, "model"),
    ({"model": ""}, "model"),
    ({"model": "x" * 33}, "model"),
    ({"model": "stt-rt-v5"}, "model"),
    ({"audio_url": None}, ""),
    ({"file_id": FILE_ID}, ""),
    ({"audio_url": None, "file_id": "mine"}, "file_id"),
    ({"audio_url": "ftp://example.com/a.wav"}, "audio_url"),
    ({"audio_url": "https://"}, "audio_url"),
    ({"audio_url": "https://example.com/a b"}, "audio_url"),
    ({"audio_url": "https://example.com/" + "a" * 4096}, "audio_url"),
    ({"language_hints": ["en", "en"]}, "language_hints"),
    ({"language_hints": ["en", "klingon"]}, "language_hints.1"),
    ({"language_hints": ["en"] * 101}, "language_hints"),
    ({"language_hints_strict": "yes"}, "language_hints_strict"),
    ({"enable_speaker_diarization": 1}, "enable_speaker_diarization"),
    ({"translation": {"type": "one_way"}}, "translation.target_language"),
    ({"translation": {"type": "one_way", "target_language": "xx"}}, "translation.target_language"),
    ({"translation": {"type": "two_way", "language_a": "en"}}, "translation.language_b"),
    ({"translation": {"type": "two_way", "language_a": "en", "language_b": "en"}}, "translation"),
    ({"translation": {"type": "three_way"}}, "translation"),
    ({"context": "x" * 10_001}, "context"),
    ({"context": {"text": "x" * 10_001}}, "context"),
    ({"context": {"general": [{"key": "domain"}]}}, "context.general.0.value"),
    ({"context": {"terms": "relay"}}, "context.terms"),
    ({"context": 7}, "context"),
    ({"webhook_url": "https://example.com/" + "a" * 256}, "webhook_url"),
    ({"webhook_url": "https://\u00f8T\uef48/"}, "webhook_url"),
    ({"webhook_url": "http://169.254.169.254/latest"}, "webhook_url"),
    ({"webhook_url": "http://[::ffff:10.0.0.1]/"}, "webhook_url"),
    ({"webhook_url": "http://0x7f000002/"}, "webhook_url"),
    ({"webhook_auth_header_name": "X-Mine"}, ""),
    ({"webhook_auth_header_name": "X Mine", "webhook_auth_header_value": "a"}, "webhook_auth_header_name"),
    ({"webhook_auth_header_name": "Host", "webhook_auth_header_value": "a"}, "webhook_auth_header_name"),
    ({"webhook_auth_header_name": "X", "webhook_auth_header_value": "a\nb"}, "webhook_auth_header_value"),
    ({"client_reference_id": "x" * 257}, "client_reference_id"),
    ({"client_reference_id": "a\0b"}, "client_reference_id"),
    ({"metadata": {"a": "x" * 16_384}}, "metadata"),
    ({"metadata": []}, "metadata"),
    ({"metadata": {"deep": [{"nul": "\0"}]}}, "metadata.deep.0.nul"),
    ({"metadata": {"number": float("inf")}}, "metadata.number"),
]


async def test_a_mistake_is_refused_at_the_door_with_its_location(relay_app: RelayApp) -> None:
    for change, location in MISTAKES:
        body = {name: value for name, value in {**GOOD, **change}.items() if value is not None}
        answer = await relay_app.client.post(
            "/v1/transcriptions", content=json.dumps(body), headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 400, change
        error = answer.json()
        assert error["error_type"] == "invalid_request"
        assert error["request_id"] == answer.headers["x-request-id"]
        locations = [problem["location"] for problem in error["validation_errors"]]
        assert locations == [".".join(filter(None, ["body.payload", location]))], change
    assert await rows_of(relay_app, Transcription) == 0


async def test_several_mistakes_are_told_together(relay_app: RelayApp) -> None:
    answer = await post(relay_app, {"audio_url": "x", "metadata": 1})
    told = {(problem["location"], problem["error_type"]) for problem in answer.json()["validation_errors"]}
    assert {("body.payload.model", "missing"), ("body.payload.audio_url", "string_pattern_mismatch")} <= told


NO_REQUESTS = [
    (b'{"model":', "application/json", 400),
    (b"[]", "application/json", 400),
    (b"", "application/json", 400),
    (b"\xff\xfe", "application/json", 400),
    (b"[" * 5000, "application/json", 400),
    (b"a=b", "application/x-www-form-urlencoded", 415),
    (b"<a/>", "text/xml", 415),
    (b"x", "multipart/form-data", 400),
    (b"x", "multipart/form-data; boundary=b", 400),
    (b" " * 300_000, "application/json", 413),
]


async def test_what_is_no_request_at_all_is_refused(relay_app: RelayApp) -> None:
    for body, kind, status in NO_REQUESTS:
        answer = await relay_app.client.post("/v1/transcriptions", content=body, headers={"Content-Type": kind})
        assert answer.status_code == status, (body[:20], kind)
        assert answer.json()["status_code"] == status


async def test_unknown_fields_reach_soniox_and_metadata_stays_here(relay_app: RelayApp) -> None:
    job = await relay_app.submit(some_new_knob={"level": 3}, metadata={"mine": [1, None]}, language_hints=None)
    assert job["metadata"] == {"mine": [1, None]}
    done = await relay_app.finished(job["id"])
    assert done["metadata"] == {"mine": [1, None]}
    [row] = await all_of(relay_app.relay.db, Transcription)
    assert row.request == {"model": MODEL, "audio_url": AUDIO, "some_new_knob": {"level": 3}}


async def test_an_answer_names_where_the_transcription_is(relay_app: RelayApp) -> None:
    answer = await post(relay_app, GOOD)
    assert answer.headers["location"] == f"/v1/transcriptions/{answer.json()['id']}"
    assert "idempotent-replayed" not in answer.headers
    assert (await relay_app.client.get(answer.headers["location"])).status_code == 200


async def test_fifty_at_once_with_one_key_are_one_job(relay_app: RelayApp) -> None:
    answers = await asyncio.gather(*[post(relay_app, GOOD, "same") for _ in range(50)])
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    assert await rows_of(relay_app, Transcription) == 1
    await relay_app.finished(answers[0].json()["id"])
    assert len(await relay_app.created_at_soniox()) == 1


async def test_many_keys_at_once_are_each_one_job(relay_app: RelayApp) -> None:
    answers = await asyncio.gather(*[post(relay_app, GOOD, f"key-{number % 20}") for number in range(100)])
    assert {answer.status_code for answer in answers} == {201}
    assert await rows_of(relay_app, Transcription) == 20


async def test_a_key_with_another_body_is_refused(relay_app: RelayApp) -> None:
    assert (await post(relay_app, GOOD, "key")).status_code == 201
    reordered = dict(reversed(list(GOOD.items())))
    assert (await post(relay_app, reordered, "key")).headers["idempotent-replayed"] == "true"
    for other in ({"client_reference_id": "x"}, {"metadata": {"a": 1}}, {"webhook_url": "https://example.com"}):
        answer = await post(relay_app, GOOD | other, "key")
        assert (answer.status_code, answer.json()["error_type"]) == (422, "idempotency_key_mismatch")
    assert await rows_of(relay_app, Transcription) == 1


async def test_a_key_belongs_to_the_caller_who_used_it(relay_app: RelayApp) -> None:
    first = await post(relay_app, GOOD, "key")
    made = (await relay_app.client.post("/v1/keys", json={"name": "other"})).json()["key"]
    headers = {"Authorization": f"Bearer {made}", "Idempotency-Key": "key"}
    second = await relay_app.client.post("/v1/transcriptions", json=GOOD, headers=headers)
    assert second.status_code == 201
    assert second.json()["id"] != first.json()["id"]


async def test_deleting_the_transcription_frees_its_key(relay_app: RelayApp) -> None:
    first = await post(relay_app, GOOD, "key")
    await relay_app.client.delete(f"/v1/transcriptions/{first.json()['id']}")
    again = await post(relay_app, GOOD, "key")
    assert again.status_code == 201
    assert again.json()["id"] != first.json()["id"]


async def test_the_content_of_a_file_counts_for_a_key(relay_app: RelayApp) -> None:
    first, twin = await asyncio.gather(*[post_form(relay_app, b"one", key="key") for _ in range(2)])
    assert first.json()["id"] == twin.json()["id"]
    assert (await post_form(relay_app, b"two", key="key")).status_code == 422
    assert await rows_of(relay_app, File) <= 1
    assert (await relay_app.finished(first.json()["id"]))["status"] == "completed"
    assert (await rows_of(relay_app, File), await rows_of(relay_app, FileChunk)) == (0, 0)


async def test_a_form_with_a_mistake_leaves_no_file(relay_app: RelayApp) -> None:
    answer = await post_form(relay_app, b"audio", {"model": MODEL, "audio_url": AUDIO})
    assert answer.json()["validation_errors"][0]["location"] == "body.payload"
    answer = await relay_app.client.post("/v1/transcriptions", files={"file": ("a.wav", b"audio")})
    assert answer.json()["validation_errors"][0]["location"] == "body.request"
    answer = await relay_app.client.post("/v1/transcriptions", files={"request": (None, json.dumps(GOOD))})
    assert answer.json()["validation_errors"] == [
        {"error_type": "missing", "location": "file.file", "message": "Field required"}
    ]
    assert (await rows_of(relay_app, File), await rows_of(relay_app, FileChunk)) == (0, 0)


async def test_submissions_are_taken_while_soniox_is_down_whatever_the_model(database_url: str) -> None:
    async with open_relay_app(database_url, soniox_api_base_url="http://127.0.0.1:9") as relay_app:
        assert (await post(relay_app, GOOD | {"model": "brand-new"})).status_code == 201
        models = await relay_app.client.get("/v1/models")
        assert (models.status_code, models.json()["error_type"]) == (503, "service_unavailable")


async def test_the_models_are_known_after_a_restart_while_soniox_is_down(database_url: str) -> None:
    async with open_relay_app(database_url) as relay_app:
        listed = await relay_app.client.get("/v1/models")
    async with open_relay_app(database_url, soniox_api_base_url="http://127.0.0.1:9") as relay_app:
        assert (await relay_app.client.get("/v1/models")).json() == listed.json()
        assert (await post(relay_app, GOOD | {"model": "brand-new"})).status_code == 400
        assert (await post(relay_app, GOOD)).status_code == 201


async def test_the_first_submission_of_a_fresh_relay_is_checked_against_the_models(relay_app: RelayApp) -> None:
    assert (await post(relay_app, GOOD | {"model": "brand-new"})).status_code == 400
