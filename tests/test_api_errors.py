"""Every refusal has Soniox's error body and an id that the log knows, whatever goes wrong."""

import json
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from service.errors import DatabaseDownError
from service.schemas import TranscriptionWithTimeline
from tests.support.relay_app import ADMIN_KEY, RelayApp

FIELDS = {"status_code", "error_type", "message", "validation_errors", "request_id", "more_info"}
MALFORMED = ["x", "0", "%00", "..%2f..", "0b7f9c3e-6c0e-4f0e-9a53-2f0f8f1f7d1", "{id}", "é", "a" * 3000]


def is_sonioxs(answer: httpx.Response, status: int, error_type: str) -> None:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) == FIELDS
    assert (body["status_code"], body["error_type"]) == (status, error_type)
    assert body["request_id"] == answer.headers["x-request-id"] != ""


@pytest.mark.parametrize("kind", ["transcription", "file"])
async def test_a_malformed_id_is_like_an_unknown_one(relay_app: RelayApp, kind: str) -> None:
    for one_id in [*MALFORMED, "0b7f9c3e-6c0e-4f0e-9a53-2f0f8f1f7d11"]:
        for method in ("GET", "DELETE"):
            answer = await relay_app.client.request(method, f"/v1/{kind}s/{one_id}")
            assert answer.status_code == 404, one_id
            assert answer.json()["error_type"] in {f"{kind}_not_found", "not_found"}
    for path in ("/v1/transcriptions/x/transcript", "/v1/transcriptions/x/retry"):
        method = "POST" if path.endswith("retry") else "GET"
        is_sonioxs(await relay_app.client.request(method, path), 404, "transcription_not_found")


async def test_an_id_is_found_in_either_case(relay_app: RelayApp) -> None:
    job = await relay_app.submit()
    assert (await relay_app.client.get(f"/v1/transcriptions/{job['id'].upper()}")).json()["id"] == job["id"]


async def test_paths_and_methods_that_are_none_are_told_so(relay_app: RelayApp) -> None:
    is_sonioxs(await relay_app.client.get("/v1/nothing"), 404, "not_found")
    is_sonioxs(await relay_app.client.get("/nothing"), 404, "not_found")
    for path, allowed in (
        ("/v1/transcriptions", "GET, POST"),
        ("/v1/transcriptions/x", "DELETE, GET"),
        ("/v1/files/count", "GET"),
        ("/webhooks/soniox", "POST"),
    ):
        answer = await relay_app.client.put(path)
        is_sonioxs(answer, 405, "method_not_allowed")
        assert answer.headers["allow"] == allowed


async def test_the_callers_request_id_is_kept_if_it_is_sane(relay_app: RelayApp) -> None:
    answer = await relay_app.client.get("/v1/nothing", headers={"X-Request-ID": "abc-1"})
    assert answer.json()["request_id"] == answer.headers["x-request-id"] == "abc-1"
    answer = await relay_app.client.get("/v1/nothing", headers={"X-Request-ID": "a b\t<script>"})
    assert answer.headers["x-request-id"].startswith("req_")


async def test_what_nobody_foresaw_is_answered_without_its_details(
    relay_app: RelayApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_given: Any) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr(TranscriptionWithTimeline, "of", break_down)
    answer = await relay_app.client.post(
        "/v1/transcriptions", json={"model": "stt-async-v5", "audio_url": "https://a"}
    )
    assert answer.status_code == 201
    with capture_logs() as logged:  # which also spares structlog the drawing of the traceback, which takes seconds
        answer = await relay_app.client.get(f"/v1/transcriptions/{answer.json()['id']}")
    is_sonioxs(answer, 500, "internal_error")
    assert "secret" not in answer.text
    assert [line for line in logged if line.get("exc_info")], logged


async def test_an_outage_of_the_database_says_when_to_come_back(
    relay_app: RelayApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_given: Any, **_named: Any) -> None:
        raise DatabaseDownError("the database does not answer")

    monkeypatch.setattr(relay_app.relay.db, "write_many", fail)
    content = json.dumps({"model": "stt-async-v5", "audio_url": "https://a"})
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    answer = await relay_app.client.post("/v1/transcriptions", content=content, headers=headers)
    is_sonioxs(answer, 503, "service_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    monkeypatch.undo()
