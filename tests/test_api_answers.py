"""Every answer of every route has the fields that /openapi.json tells of, and no others."""

import copy
import json
from dataclasses import dataclass, field
from typing import Any

import httpx
import jsonschema_rs
import pytest
from starlette.responses import Response

from tests.support.receiver import Received
from tests.support.relay_app import AUDIO, MODEL, RelayApp

pytestmark = pytest.mark.one_database  # shapes of HTTP

OPTIONAL = {"Token", "Segment", "Model"}  # whose fields Soniox, too, leaves out; others have theirs in each answer
SINCE = "2020-01-01T00:00:00Z"


@dataclass
class Referee:
    """Holds answers against the document, with unknown fields forbidden, and remembers which it has seen."""

    client: httpx.AsyncClient
    document: dict[str, Any]
    seen: set[tuple[str, str, str]] = field(default_factory=set)

    def check(self, schema: dict[str, Any], answer: Any) -> None:
        validator = jsonschema_rs.Draft202012Validator({**schema, "components": self.document["components"]})
        assert [error.message for error in validator.iter_errors(answer)] == []

    async def ask(self, method: str, template: str, one_id: str = "", **named: Any) -> Any:
        """The answer to one request, which must be one that the document tells of."""
        path = template.replace("{" + template.partition("{")[2].partition("}")[0] + "}", one_id)
        answer = await self.client.request(method, path, **named)
        code = str(answer.status_code)
        told = self.document["paths"][template][method.lower()]["responses"][code]
        self.seen.add((method, template, code))
        if "application/json" not in told.get("content", {}):
            return None
        self.check(told["content"]["application/json"]["schema"], answer.json())
        return answer.json()


def strict(document: dict[str, Any]) -> dict[str, Any]:
    """The same document for answers that have all fields, and only those."""
    document = copy.deepcopy(document)
    for name, schema in document["components"]["schemas"].items():
        if "properties" in schema:
            schema["additionalProperties"] = False
            schema["required"] = [] if name in OPTIONAL else list(schema["properties"])
    return document


def promised(document: dict[str, Any]) -> set[tuple[str, str, str]]:
    """Every answer in JSON that a key may get."""
    return {
        (method.upper(), path, code)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        for code, answer in operation["responses"].items()
        if path.startswith("/v1/") and code < "300" and "application/json" in answer.get("content", {})
    }


@pytest.fixture
async def referee(relay_app: RelayApp) -> Referee:
    """It has the document of this relay."""
    return Referee(relay_app.client, strict((await relay_app.client.get("/openapi.json")).json()))


async def test_every_answer_of_every_route_has_exactly_the_documented_fields(
    relay_app: RelayApp, referee: Referee
) -> None:
    endpoint = await _subscribe(relay_app, referee)
    job, failed = await _submit(relay_app, referee)
    await relay_app.until_received("/events", 2)
    await _read_transcriptions(referee, job, failed)
    await _upload(referee)
    await _follow_deliveries(referee, endpoint)
    await _operate(relay_app, referee)
    assert promised(referee.document) - referee.seen == set()


async def _subscribe(relay_app: RelayApp, referee: Referee) -> str:
    many, one = "/v1/endpoints", "/v1/endpoints/{endpoint_id}"
    new = {"url": f"{relay_app.receiver_url}/events", "headers": {"X-Mine": "1"}, "include": "text"}
    made = await referee.ask("POST", many, json=new)
    await referee.ask("GET", many)
    await referee.ask("GET", one, made["id"])
    await referee.ask("PATCH", one, made["id"], json={"description": "the test's"})
    await referee.ask("POST", f"{one}/rotate-secret", made["id"])
    await referee.ask("POST", f"{one}/test", made["id"])
    return str(made["id"])


async def _submit(relay_app: RelayApp, referee: Referee) -> tuple[str, str]:
    plain = {"model": MODEL, "audio_url": AUDIO, "metadata": {"a": 1}}
    failing = {**plain, "client_reference_id": "outcome=error:invalid_audio_file"}
    ids = [(await referee.ask("POST", "/v1/transcriptions", json=body))["id"] for body in (plain, failing)]
    for one_id in ids:
        await relay_app.finished(one_id)
    return ids[0], ids[1]


async def _read_transcriptions(referee: Referee, job: str, failed: str) -> None:
    many, one = "/v1/transcriptions", "/v1/transcriptions/{transcription_id}"
    page = await referee.ask("GET", many)
    assert {row["summary"] is None for row in page["transcriptions"]} == {True, False}
    await referee.ask("GET", f"{many}/count")
    for one_id in (job, failed):
        assert (await referee.ask("GET", one, one_id))["timeline"]
    transcript = await referee.ask("GET", f"{one}/transcript", job)
    assert await referee.ask("GET", f"{one}/transcript", job, params={"format": "segments"})
    word = transcript["text"].split()[0].strip(".,")
    assert (await referee.ask("GET", "/v1/search", params={"q": word}))["hits"]
    await referee.ask("POST", f"{one}/reconcile", job)
    await referee.ask("POST", f"{one}/retry", failed)
    await referee.ask("GET", "/v1/models")


async def _upload(referee: Referee) -> None:
    file = await referee.ask("POST", "/v1/files", files={"file": ("a.wav", b"audio")})
    await referee.ask("GET", "/v1/files")
    await referee.ask("GET", "/v1/files/count")
    await referee.ask("GET", "/v1/files/{file_id}", file["id"])


async def _follow_deliveries(referee: Referee, endpoint: str) -> None:
    many, one = "/v1/deliveries", "/v1/deliveries/{delivery_id}"
    delivery = (await referee.ask("GET", many))["deliveries"][0]["id"]
    await referee.ask("GET", one, delivery)
    assert (await referee.ask("POST", f"{one}/retry", delivery))["attempts"]
    recover = "/v1/endpoints/{endpoint_id}/recover"
    await referee.ask("POST", recover, endpoint, json={"since": SINCE, "dry_run": True})
    await referee.ask("POST", recover, endpoint, json={"since": SINCE})
    assert (await referee.ask("GET", "/v1/endpoints/{endpoint_id}/recoveries", endpoint))["recoveries"]


async def _operate(relay_app: RelayApp, referee: Referee) -> None:
    await referee.ask("POST", "/v1/keys", json={"name": "the test's"})
    await referee.ask("GET", "/v1/keys")

    async def has_run() -> bool:
        return bool((await referee.ask("GET", "/v1/reconciler"))["runs"])

    await relay_app.until(has_run)
    await _disable_an_endpoint(relay_app)
    assert (await referee.ask("GET", "/v1/stats"))["attention"]
    events = (await referee.ask("GET", "/v1/events"))["events"]
    assert {event["type"] for event in events} == set(referee.document["webhooks"])


async def _disable_an_endpoint(relay_app: RelayApp) -> None:
    """By a receiver that says it is gone, when it hears of a deletion."""

    def refuse(request: Received) -> Response:
        return Response(status_code=410 if request.path == "/gone" else 200)

    relay_app.receiver.answer = refuse
    gone = await relay_app.add_endpoint("/gone", event_types=["transcription.deleted"])
    job = await relay_app.submit()
    await relay_app.finished(job["id"])

    async def is_quiet() -> bool:
        return not (await relay_app.client.get("/v1/deliveries?status=pending")).json()["deliveries"]

    await relay_app.until(is_quiet)  # a message whose transcript is deleted goes without it
    await relay_app.client.delete(f"/v1/transcriptions/{job['id']}")

    async def is_disabled() -> bool:
        return not (await relay_app.client.get(f"/v1/endpoints/{gone['id']}")).json()["enabled"]

    await relay_app.until(is_disabled)


async def test_every_event_is_sent_with_exactly_the_documented_fields(
    relay_app: RelayApp, referee: Referee
) -> None:
    for include in ("none", "text", "transcript"):
        await relay_app.add_endpoint(f"/{include}", include=include)
    await _submit(relay_app, referee)
    await _disable_an_endpoint(relay_app)
    for include in ("none", "text", "transcript"):
        await relay_app.until_received(f"/{include}", 5)
    schemas = referee.document["components"]["schemas"]
    enclosed = schemas["CompletedTranscription"]["required"]
    schemas["CompletedTranscription"]["required"] = [one for one in enclosed if one not in {"text", "transcript"}]
    for path in ("/none", "/text", "/transcript"):
        for request in relay_app.receiver.at(path):
            event = json.loads(request.body)
            told = referee.document["webhooks"][event["type"]]["post"]["requestBody"]["content"]
            referee.check(told["application/json"]["schema"], event)
            of_success = event["type"] == "transcription.completed"
            assert (path[1:] in event["data"]) == (of_success and path != "/none")
