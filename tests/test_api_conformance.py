"""Every answer of the relay and of its Soniox double on Soniox's own paths is true to Soniox's OpenAPI document.

`data/soniox-openapi.json` has the schemas of April 2026. What changed later, as far as it is known: a job of
`POST /v1/transcriptions` may be refused with 402 and everything with 429; `more_info` came to the error body.
"""

import json
from pathlib import Path

import httpx
import jsonschema_rs
import pytest

from tests.support.relay_app import ADMIN_KEY, AUDIO, MODEL, RelayApp

pytestmark = pytest.mark.one_database  # shapes of HTTP

DOCUMENT = json.loads((Path(__file__).parent / "data" / "soniox-openapi.json").read_text())
LATER = {"402", "403", "413", "415", "422", "429", "503"}  # codes that answer with the error body, too
NOWHERE = "0b7f9c3e-6c0e-4f0e-9a53-2f0f8f1f7d11"


def check(template: str, answer: httpx.Response) -> None:
    """Hold one answer against the document."""
    operation = DOCUMENT["paths"][template][answer.request.method.lower()]
    code = str(answer.status_code)
    told = operation["responses"].get(code)
    if told is None:
        assert code in LATER | {"400", "404"}, f"{code} is not one of Soniox's answers to {template}"
        told = operation["responses"]["401"]
    if "content" not in told:
        assert answer.content == b""
        return
    schema = told["content"]["application/json"]["schema"]
    validator = jsonschema_rs.Draft202012Validator(
        {**schema, "components": DOCUMENT["components"]}, validate_formats=True
    )
    assert [error.message for error in validator.iter_errors(answer.json())] == []
    assert answer.headers["content-type"].startswith("application/json")


async def ended(client: httpx.AsyncClient, job_id: str) -> None:
    while (await client.get(f"/v1/transcriptions/{job_id}")).json()["status"] in {"queued", "processing"}:
        pass


@pytest.mark.parametrize("which", ["relay", "sandbox"])
async def test_answers_are_true_to_sonioxs_document(relay_app: RelayApp, which: str) -> None:
    client = relay_app.client if which == "relay" else relay_app.soniox
    await _transcriptions(client, relay_app)
    await _files(client)
    check("/v1/models", await client.get("/v1/models"))
    for template in DOCUMENT["paths"]:
        path = template.replace("{file_id}", NOWHERE).replace("{transcription_id}", NOWHERE)
        refused = await client.get(path, headers={"Authorization": "Bearer nobody"})
        assert refused.status_code == 401
        check(template, refused)


async def _transcriptions(client: httpx.AsyncClient, relay_app: RelayApp) -> None:
    plain = {"model": MODEL, "audio_url": AUDIO}
    rich = {
        **plain,
        "language_hints": ["en", "de"],
        "enable_speaker_diarization": True,
        "enable_language_identification": True,
        "translation": {"type": "one_way", "target_language": "de"},
        "context": {"terms": ["relay"]},
        "webhook_url": f"{relay_app.receiver_url}/mine",
        "webhook_auth_header_name": "X-Mine",
        "webhook_auth_header_value": "secret",
        "client_reference_id": "ref",
    }
    failing = {**plain, "client_reference_id": "outcome=error:invalid_audio_file"}
    many, one = "/v1/transcriptions", "/v1/transcriptions/{transcription_id}"
    for body, has_transcript in ((plain, True), (rich, True), (failing, False)):
        created = await client.post(many, json=body)
        assert created.status_code == 201
        check(many, created)
        path = f"{many}/{created.json()['id']}"
        check(one, await client.get(path))
        await ended(client, created.json()["id"])
        check(one, await client.get(path))
        transcript = await client.get(f"{path}/transcript")
        assert transcript.status_code == (200 if has_transcript else 409)
        check(f"{one}/transcript", transcript)
    page = await client.get(many, params={"limit": 2})
    check(many, page)
    check(many, await client.get(many, params={"cursor": page.json()["next_page_cursor"]}))
    check(f"{many}/count", await client.get(f"{many}/count"))
    for wrong in ({"limit": 0}, {"cursor": "nonsense"}):
        check(many, await client.get(many, params=wrong))
    for body in ({}, {**plain, "file_id": NOWHERE}, {**plain, "model": "none"}):
        check(many, await client.post(many, json=body))
    check(one, await client.get(f"{many}/{NOWHERE}"))
    check(f"{one}/transcript", await client.get(f"{many}/{NOWHERE}/transcript"))
    check(one, await client.delete(path))
    check(one, await client.delete(path))


async def _files(client: httpx.AsyncClient) -> None:
    many, one = "/v1/files", "/v1/files/{file_id}"
    form = {"file": ("a.wav", b"audio")}
    plain = await client.post(many, files=form)
    check(many, plain)
    check(many, await client.post(many, files=form, data={"client_reference_id": "ref"}))
    check(many, await client.post(many, files={"client_reference_id": (None, "ref")}))
    page = await client.get(many, params={"limit": 1})
    check(many, page)
    check(many, await client.get(many, params={"cursor": page.json()["next_page_cursor"]}))
    check(many, await client.get(many, params={"limit": 1001}))
    check(f"{many}/count", await client.get(f"{many}/count"))
    path = f"{many}/{plain.json()['id']}"
    for _ in range(2):
        check(one, await client.get(path))
        check(one, await client.delete(path))
    assert (await client.get(path)).status_code == 404


async def test_the_relay_takes_whatever_soniox_documents_as_valid(relay_app: RelayApp) -> None:
    """The fields of Soniox's create schema and those the relay knows are the same, nulls included."""
    fields = DOCUMENT["components"]["schemas"]["CreateTranscriptionPayload"]["properties"]
    nulls = {name: None for name in fields if name not in {"model", "audio_url"}}
    answer = await relay_app.client.post("/v1/transcriptions", json={**nulls, "model": MODEL, "audio_url": AUDIO})
    assert answer.status_code == 201
    ours = (await relay_app.client.get("/openapi.json", headers={"Authorization": f"Bearer {ADMIN_KEY}"})).json()
    known = set(ours["components"]["schemas"]["Submission"]["properties"])
    assert known - set(fields) == {"metadata"}
    assert set(fields) <= known
