"""Endpoints over the API: what may be said of one, what is shown, and what follows from a change."""

import json
from typing import Any

import httpx
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError
from starlette.responses import Response

from tests.support.relay_app import RelayApp, as_json, open_relay_app
from tests.support.waiting import until

EVERYTHING: dict[str, Any] = {
    "event_types": ["transcription.completed", "transcription.failed"],
    "include": "text",
    "description": "the archive",
    "headers": {"X-Tenant": "blue", "Authorization": "Bearer hidden-value"},
    "rate_per_s": 2.5,
    "max_in_flight": 3,
}


async def _create(relay_app: RelayApp, **fields: Any) -> httpx.Response:
    return await relay_app.client.post("/v1/endpoints", json={"url": f"{relay_app.receiver_url}/events", **fields})


async def test_an_endpoint_is_created_read_listed_changed_and_deleted(relay_app: RelayApp) -> None:
    made = await relay_app.add_endpoint(**EVERYTHING)
    assert made["secret"].startswith("whsec_")
    path = f"/v1/endpoints/{made['id']}"
    shown = (await relay_app.client.get(path)).json()
    assert {name: shown[name] for name in EVERYTHING if name != "headers"} == {
        name: value for name, value in EVERYTHING.items() if name != "headers"
    }
    assert (shown["enabled"], shown["disabled_at"]) == (True, None)
    assert shown == {name: value for name, value in made.items() if name != "secret"}
    assert (await relay_app.client.get("/v1/endpoints")).json() == {"endpoints": [shown], "next_page_cursor": None}

    changed = await relay_app.client.patch(path, json={"description": None, "include": "none", "rate_per_s": None})
    assert changed.status_code == 200
    assert changed.json() == {**shown, "description": None, "include": "none", "rate_per_s": None}

    assert (await relay_app.client.delete(path)).status_code == 204
    for method in ("GET", "PATCH", "DELETE"):
        answer = await relay_app.client.request(method, path, json={})
        assert (answer.status_code, answer.json()["error_type"]) == (404, "endpoint_not_found")


async def test_secrets_and_header_values_are_shown_once_or_never(relay_app: RelayApp) -> None:
    made = await relay_app.add_endpoint(**EVERYTHING)
    answers = [
        await relay_app.client.get("/v1/endpoints"),
        await relay_app.client.get(f"/v1/endpoints/{made['id']}"),
        await relay_app.client.patch(f"/v1/endpoints/{made['id']}", json={"enabled": False}),
    ]
    for answer in answers:
        assert made["secret"] not in answer.text
        assert "hidden-value" not in answer.text
        assert "X-Tenant" in answer.text


REFUSED: list[tuple[str, Any]] = [
    ("url", "ftp://example.com/"),
    ("url", "http://"),
    ("url", "https://user:password@example.com/"),
    ("url", "https://example.com:99999/"),
    ("url", "https://example.com\\@127.0.0.1/"),
    ("url", "http://10.1.2.3/"),
    ("url", "http://[::1]/"),
    ("url", "http://2130706434/"),
    ("url", "http://0x7f.2/"),
    ("url", "http://169.254.169.254/latest/meta-data"),
    ("event_types", ["transcription.exploded"]),
    ("include", "everything"),
    ("rate_per_s", 0),
    ("rate_per_s", 5e-324),  # so small that one over it is infinite: it stopped every delivery
    ("max_in_flight", 1.5),
    ("max_in_flight", 0),
    ("max_in_flight", 101),
    ("description", "nul \0"),
    ("headers", {"Host": "x"}),
    ("headers", {"content-length": "1"}),
    ("headers", {"Transfer-Encoding": "chunked"}),
    ("headers", {"Connection": "close"}),
    ("headers", {"Webhook-Id": "evt_1"}),
    ("headers", {"webhook-signature": "v1,x"}),
    ("headers", {"Proxy-Authorization": "x"}),
    ("headers", {"X\r\nInjected": "x"}),
    ("headers", {"X-Fine": "a\r\nInjected: b"}),
    ("headers", {"X-Fine": "\u00e9"}),
    ("headers", {"X Y": "x"}),
    ("headers", {"": "x"}),
    ("headers", {"X-Long": "x" * 3000}),
    ("headers", {"X-Twice": "1", "x-twice": "2"}),
    ("headers", {f"X-{number}": "x" for number in range(21)}),
    ("unknown", 1),
]


async def test_what_cannot_be_is_refused_with_its_place(relay_app: RelayApp) -> None:
    for field, value in REFUSED:
        answer = await _create(relay_app, **{field: value})
        assert answer.status_code == 400, (field, value, answer.text)
        assert answer.json()["validation_errors"][0]["location"].startswith(f"body.{field}")
        if isinstance(value, dict):
            assert not [text for text in value.values() if len(text) > 3 and text in answer.text]
    assert (await relay_app.client.get("/v1/endpoints")).json()["endpoints"] == []


async def test_a_whole_number_may_be_written_with_a_fraction(relay_app: RelayApp) -> None:
    assert (await _create(relay_app, max_in_flight=66.0)).json()["max_in_flight"] == 66


async def test_a_private_address_is_refused_with_the_setting_that_would_allow_it(relay_app: RelayApp) -> None:
    answer = await _create(relay_app, url="http://192.168.1.10/hook")
    assert "RELAY_ALLOWED_DESTINATIONS" in answer.text
    made = await relay_app.add_endpoint()
    changed = await relay_app.client.patch(f"/v1/endpoints/{made['id']}", json={"url": "http://0xa9fea9fe/"})
    assert changed.status_code == 400


async def test_custom_headers_are_sent_and_replaced_as_a_whole(relay_app: RelayApp) -> None:
    made = await relay_app.add_endpoint(headers={"X-Tenant": "blue", "Authorization": "Bearer abc"})
    await relay_app.finished((await relay_app.submit())["id"])
    await relay_app.until_received("/events")
    await relay_app.client.patch(f"/v1/endpoints/{made['id']}", json={"headers": {"X-Other": "red"}})
    await relay_app.finished((await relay_app.submit())["id"])
    await relay_app.until_received("/events", 2)
    first, second = (request.headers for request in relay_app.receiver.at("/events"))
    assert (first["x-tenant"], first["authorization"]) == ("blue", "Bearer abc")
    assert second["x-other"] == "red"
    assert "x-tenant" not in second


async def test_filters_choose_what_an_endpoint_hears_of(relay_app: RelayApp) -> None:
    await relay_app.add_endpoint("/failures", event_types=["transcription.failed"])
    await relay_app.add_endpoint("/all")
    await relay_app.finished((await relay_app.submit())["id"])
    await relay_app.finished(
        (await relay_app.submit(client_reference_id="outcome=error:invalid_audio_file"))["id"]
    )
    await relay_app.until_received("/all", 2)
    await relay_app.until_received("/failures", 1)
    heard = [as_json(request.body)["type"] for request in relay_app.receiver.at("/failures")]
    assert heard == ["transcription.failed"]


async def test_include_puts_text_or_transcript_into_the_signed_body(relay_app: RelayApp) -> None:
    made = {
        name: await relay_app.add_endpoint(f"/{name}", include=name) for name in ("none", "text", "transcript")
    }
    job = await relay_app.finished((await relay_app.submit())["id"])
    transcript = (await relay_app.client.get(f"/v1/transcriptions/{job['id']}/transcript")).json()
    bodies = {}
    for name, endpoint in made.items():
        await relay_app.until_received(f"/{name}")
        request = relay_app.receiver.at(f"/{name}")[0]
        bodies[name] = Verifier(endpoint["secret"]).verify(request.body, request.headers)["data"]
    assert bodies["text"].pop("text") == transcript["text"]
    assert bodies["transcript"].pop("transcript") == transcript
    assert bodies["none"] == bodies["text"] == bodies["transcript"]


async def test_a_transcript_that_is_too_long_is_left_out_and_the_stored_bytes_are_sent(
    relay_app: RelayApp,
) -> None:
    endpoints = {name: await relay_app.add_endpoint(f"/{name}", include=name) for name in ("none", "transcript")}
    job = await relay_app.submit(audio_url="https://sandbox.invalid/tokens=12000")
    await relay_app.finished(job["id"])
    for name in endpoints:
        await relay_app.until_received(f"/{name}")
    thin, asked = (relay_app.receiver.at(f"/{name}")[0] for name in endpoints)
    assert asked.body == thin.body
    Verifier(endpoints["transcript"]["secret"]).verify(asked.body, asked.headers)


def _verifies(secret: str, request: Any) -> bool:
    try:
        Verifier(secret).verify(request.body, request.headers)
    except WebhookVerificationError:
        return False
    return True


async def test_a_rotated_secret_signs_beside_the_new_one_until_it_expires(relay_app: RelayApp) -> None:
    made = await relay_app.add_endpoint()
    path = f"/v1/endpoints/{made['id']}/rotate-secret"
    rotated = (await relay_app.client.post(path)).json()
    assert rotated["secret"] != made["secret"]
    await relay_app.client.post(f"/v1/endpoints/{made['id']}/test")
    both = relay_app.receiver.at("/events")[0]
    assert len(both.headers["webhook-signature"].split(" ")) == 2
    assert _verifies(made["secret"], both)
    assert _verifies(rotated["secret"], both)

    third = (await relay_app.client.post(path, json={"overlap_s": 0.05})).json()
    rotated_ms = relay_app.relay.clock()
    await until(lambda: relay_app.relay.clock() > rotated_ms + 50)
    await relay_app.client.post(f"/v1/endpoints/{made['id']}/test")
    later = relay_app.receiver.at("/events")[1]
    assert _verifies(third["secret"], later)
    assert _verifies(made["secret"], later)  # its own 24 hours are not over
    assert not _verifies(rotated["secret"], later)

    for bad in ({"overlap_s": -1}, {"overlap_s": 700_000}, {"overlap": 5}):
        assert (await relay_app.client.post(path, json=bad)).status_code == 400


async def test_a_ping_goes_the_way_of_deliveries_and_its_try_is_the_answer(relay_app: RelayApp) -> None:
    made = await relay_app.add_endpoint()
    answer = (await relay_app.client.post(f"/v1/endpoints/{made['id']}/test")).json()
    assert answer["delivered"] is True
    assert answer["attempt"]["status_code"] == 200
    ping = relay_app.receiver.at("/events")[0]
    assert Verifier(made["secret"]).verify(ping.body, ping.headers)["type"] == "ping"
    assert ping.headers["webhook-id"] == answer["event_id"]

    relay_app.receiver.answer = lambda _request: Response(b"\0no\x1b[0m\xff", status_code=503)
    failed = (await relay_app.client.post(f"/v1/endpoints/{made['id']}/test")).json()
    assert (failed["delivered"], failed["attempt"]["status_code"]) == (False, 503)
    assert failed["attempt"]["answer"] == "\ufffdno\ufffd[0m\ufffd"
    kept = (await relay_app.client.get(f"/v1/deliveries/{failed['delivery_id']}")).json()
    assert kept["attempts"] == [failed["attempt"]]
    assert (kept["status"], kept["next_attempt_at"]) == ("exhausted", None)  # a ping is not tried again
    assert len(relay_app.receiver.at("/events")) == 2


async def test_a_ping_cannot_reach_what_deliveries_cannot(database_url: str) -> None:
    async with open_relay_app(database_url, relay_allowed_destinations=("receiver.test",)) as relay_app:
        made = await relay_app.client.post("/v1/endpoints", json={"url": "http://ip6-localhost:9/"})
        answer = (await relay_app.client.post(f"/v1/endpoints/{made.json()['id']}/test")).json()
        assert answer["delivered"] is False
        assert answer["attempt"]["status_code"] is None
        assert answer["attempt"]["answer"] == ""


async def test_a_paused_endpoint_holds_its_events_and_gets_them_when_it_goes_on(relay_app: RelayApp) -> None:
    made = await relay_app.add_endpoint(event_types=["transcription.completed"])
    path = f"/v1/endpoints/{made['id']}"
    paused = (await relay_app.client.patch(path, json={"enabled": False})).json()
    assert (paused["enabled"], paused["disabled_reason"]) == (False, None)
    assert paused["disabled_at"]
    jobs = [await relay_app.finished((await relay_app.submit())["id"]) for _ in range(3)]
    held = (await relay_app.client.get("/v1/deliveries", params={"endpoint_id": made["id"]})).json()["deliveries"]
    assert [(row["status"], row["next_attempt_at"]) for row in held] == [("pending", None)] * 3
    assert relay_app.receiver.requests == []
    refused = await relay_app.client.post(f"/v1/deliveries/{held[0]['id']}/retry")
    assert (refused.status_code, refused.json()["error_type"]) == (409, "delivery_invalid_state")

    assert (await relay_app.client.patch(path, json={"enabled": True})).json()["disabled_at"] is None
    await relay_app.until_received("/events", 3)
    received = [as_json(request.body)["data"]["id"] for request in relay_app.receiver.at("/events")]
    assert sorted(received) == sorted(job["id"] for job in jobs)


async def test_an_endpoint_whose_master_secret_is_lost_says_so_and_can_be_mended(database_url: str) -> None:
    async with open_relay_app(database_url) as relay_app:
        made = await relay_app.add_endpoint(headers={"X-Tenant": "blue"})
    path = f"/v1/endpoints/{made['id']}"
    async with open_relay_app(
        database_url, soniox_api_webhook_secret="another-secret-of-the-tests-0002"
    ) as relay_app:
        assert (await relay_app.client.get("/v1/endpoints")).json()["endpoints"][0]["headers"] is None
        refused = await relay_app.client.post(f"{path}/test")
        assert (refused.status_code, refused.json()["error_type"]) == (409, "endpoint_invalid_state")
        await relay_app.finished((await relay_app.submit())["id"])

        async def is_explained() -> bool:
            (row,) = (await relay_app.client.get("/v1/deliveries")).json()["deliveries"]
            return "no longer set" in (row["last_error"] or "")

        await relay_app.until(is_explained)
        await relay_app.client.patch(path, json={"headers": {}, "url": f"{relay_app.receiver_url}/events"})
        rotated = (await relay_app.client.post(f"{path}/rotate-secret")).json()
        (row,) = (await relay_app.client.get("/v1/deliveries")).json()["deliveries"]
        await relay_app.client.post(f"/v1/deliveries/{row['id']}/retry")
        await relay_app.until_received("/events")
        assert _verifies(rotated["secret"], relay_app.receiver.at("/events")[0])


async def test_a_deleted_endpoint_gets_nothing_more_and_its_deliveries_say_why(relay_app: RelayApp) -> None:
    made = await relay_app.add_endpoint(enabled=False)
    await relay_app.finished((await relay_app.submit())["id"])
    assert (await relay_app.client.delete(f"/v1/endpoints/{made['id']}")).status_code == 204
    listed: list[dict[str, Any]] = []

    async def is_given_up() -> bool:
        answer = await relay_app.client.get("/v1/deliveries", params={"endpoint_id": made["id"]})
        listed[:] = answer.json()["deliveries"]
        return [row["next_attempt_at"] for row in listed] == [None] and listed[0]["status"] != "pending"

    await relay_app.until(is_given_up)
    assert [(row["status"], row["last_error"]) for row in listed] == [("exhausted", "the endpoint was deleted")]
    assert relay_app.receiver.requests == []
    assert (await relay_app.client.post(f"/v1/deliveries/{listed[0]['id']}/retry")).status_code == 409


async def test_keys_see_and_hear_only_their_own(relay_app: RelayApp) -> None:
    async def key() -> dict[str, str]:
        made = await relay_app.client.post("/v1/keys", json={"name": "one", "scopes": ["submit", "read"]})
        assert made.status_code == 201, made.text
        return {"Authorization": f"Bearer {made.json()['key']}"}

    mine, theirs = await key(), await key()
    url = f"{relay_app.receiver_url}/mine"
    endpoint = (await relay_app.client.post("/v1/endpoints", json={"url": url}, headers=mine)).json()
    body = {"model": "stt-async-v5", "audio_url": "https://sandbox.invalid/tokens=3"}
    foreign = (await relay_app.client.post("/v1/transcriptions", json=body, headers=theirs)).json()
    own = (await relay_app.client.post("/v1/transcriptions", json=body, headers=mine)).json()
    await relay_app.finished(foreign["id"])
    await relay_app.finished(own["id"])
    await relay_app.until_received("/mine")
    assert [as_json(request.body)["data"]["id"] for request in relay_app.receiver.at("/mine")] == [own["id"]]

    delivery = (await relay_app.client.get("/v1/deliveries", headers=mine)).json()["deliveries"][0]
    ways = [
        ("GET", f"/v1/endpoints/{endpoint['id']}", None),
        ("PATCH", f"/v1/endpoints/{endpoint['id']}", {"enabled": False}),
        ("DELETE", f"/v1/endpoints/{endpoint['id']}", None),
        ("POST", f"/v1/endpoints/{endpoint['id']}/rotate-secret", None),
        ("POST", f"/v1/endpoints/{endpoint['id']}/test", None),
        ("POST", f"/v1/endpoints/{endpoint['id']}/recover", {"since": "2020-01-01T00:00:00Z"}),
        ("GET", f"/v1/endpoints/{endpoint['id']}/recoveries", None),
        ("GET", f"/v1/deliveries/{delivery['id']}", None),
        ("POST", f"/v1/deliveries/{delivery['id']}/retry", None),
    ]
    for method, path, sent in ways:
        content = json.dumps(sent) if sent is not None else None
        kind = {"Content-Type": "application/json"}
        answer = await relay_app.client.request(method, path, content=content, headers={**theirs, **kind})
        assert answer.status_code == 404, (method, path, answer.text)
    for path, name in (("/v1/endpoints", "endpoints"), ("/v1/deliveries", "deliveries")):
        assert (await relay_app.client.get(path, headers=theirs)).json()[name] == []
    events = (await relay_app.client.get("/v1/events", headers=theirs)).json()["events"]
    assert [event["data"]["id"] for event in events] == [foreign["id"]]
