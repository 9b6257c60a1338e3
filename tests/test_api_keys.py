"""Keys: what they open, how they end, and that no key sees what another one owns."""

import json
from typing import Any

import httpx
import pytest

from service.tables import ApiKey
from tests.support.relay_app import ADMIN_KEY, AUDIO, MODEL, RelayApp, open_relay_app
from tests.support.rows import all_of

pytestmark = pytest.mark.one_database  # scopes and headers; a lookup by hash is the same everywhere

NOWHERE = "0b7f9c3e-6c0e-4f0e-9a53-2f0f8f1f7d11"
BODY = {"model": MODEL, "audio_url": AUDIO}
METHODS = ("get", "post", "patch", "put", "delete")


async def key_of(relay_app: RelayApp, name: str, *scopes: str) -> dict[str, Any]:
    answer = await relay_app.client.post("/v1/keys", json={"name": name, "scopes": scopes or ["submit", "read"]})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def bearing(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def test_a_key_is_shown_once_and_stored_hashed(relay_app: RelayApp) -> None:
    made = await key_of(relay_app, "call centre")
    assert made["key"].startswith("srk_")
    listed = (await relay_app.client.get("/v1/keys")).json()["keys"]
    assert listed == [{name: value for name, value in made.items() if name != "key"}]
    [row] = await all_of(relay_app.relay.db, ApiKey)
    assert made["key"] not in repr(row.model_dump())


async def test_the_last_use_is_recorded_and_a_revoked_key_opens_nothing(relay_app: RelayApp) -> None:
    made = await key_of(relay_app, "short-lived")
    headers = bearing(made["key"])
    assert (await relay_app.client.get("/v1/transcriptions", headers=headers)).status_code == 200
    [listed] = (await relay_app.client.get("/v1/keys")).json()["keys"]
    assert listed["last_used_at"] >= made["created_at"]
    assert (await relay_app.client.delete(f"/v1/keys/{made['id']}")).status_code == 204
    assert (await relay_app.client.get("/v1/transcriptions", headers=headers)).status_code == 401
    assert (await relay_app.client.delete(f"/v1/keys/{made['id']}")).status_code == 404
    assert (await relay_app.client.get("/v1/keys")).json() == {"keys": []}


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        (["read"], {"read"}),
        (["submit"], {"submit"}),
        (["submit", "read"], {"submit", "read"}),
        (["admin"], {"submit", "read", "admin"}),
    ],
)
async def test_a_key_opens_what_its_scopes_say(relay_app: RelayApp, scopes: list[str], allowed: set[str]) -> None:
    headers = bearing((await key_of(relay_app, "some", *scopes))["key"])
    tries = {
        "read": await relay_app.client.get("/v1/transcriptions", headers=headers),
        "submit": await relay_app.client.post("/v1/transcriptions", json=BODY, headers=headers),
        "admin": await relay_app.client.get("/v1/keys", headers=headers),
    }
    for scope, answer in tries.items():
        assert (answer.status_code == 403) is (scope not in allowed), scope
        if answer.status_code == 403:
            assert answer.json()["error_type"] == "permission_denied"


@pytest.mark.parametrize("header", [None, "", "Bearer", "Basic abc", "Bearer nobody", ADMIN_KEY])
async def test_no_key_and_a_wrong_one_are_refused_before_anything_else(
    relay_app: RelayApp, header: str | None
) -> None:
    async with httpx.AsyncClient(base_url=relay_app.server.url) as stranger:
        headers = {} if header is None else {"Authorization": header}
        for method, path in (("GET", "/v1/keys"), ("POST", "/v1/transcriptions"), ("DELETE", "/v1/files/x")):
            answer = await stranger.request(method, path, headers=headers, content=b"{nonsense")
            assert (answer.status_code, answer.json()["error_type"]) == (401, "unauthenticated")
            assert answer.headers["www-authenticate"] == "Bearer"


async def test_without_any_key_the_api_refuses_every_call(database_url: str) -> None:
    async with open_relay_app(database_url, relay_api_key=None) as relay_app:
        for key in ("None", "bootstrap", ADMIN_KEY):
            assert (await relay_app.client.get("/v1/transcriptions", headers=bearing(key))).status_code == 401


async def test_every_answer_tells_what_is_left_of_the_rate_and_too_many_are_refused(database_url: str) -> None:
    async with open_relay_app(database_url, relay_key_requests_per_minute=20) as relay_app:
        other = bearing((await key_of(relay_app, "other"))["key"])
        answers = [await relay_app.client.get("/v1/transcriptions/count", headers=other) for _ in range(22)]
        assert [answer.status_code for answer in answers].count(429) in {1, 2}
        assert answers[0].headers["ratelimit-policy"] == '"key";q=20;w=60'
        assert answers[0].headers["ratelimit"] == '"key";r=19;t=3'
        refused = answers[-1]
        assert (refused.status_code, refused.json()["error_type"]) == (429, "limit_exceeded")
        assert 1 <= int(refused.headers["retry-after"]) <= 3
        assert refused.headers["ratelimit"].startswith('"key";r=0;')
        assert (await relay_app.client.get("/v1/transcriptions/count")).status_code == 200


async def test_without_a_limit_nothing_is_said_of_one(database_url: str) -> None:
    async with open_relay_app(database_url, relay_key_requests_per_minute=0) as relay_app:
        assert "ratelimit" not in (await relay_app.client.get("/v1/transcriptions/count")).headers


async def test_no_route_gives_one_key_anything_of_anothers(relay_app: RelayApp) -> None:
    owner, stranger = await key_of(relay_app, "owner"), await key_of(relay_app, "stranger")
    canaries = await _things_of(relay_app, bearing(owner["key"]))
    document = (await relay_app.client.get("/openapi.json")).json()
    tried = 0
    for path, operations in document["paths"].items():
        for method in METHODS:
            if method not in operations or "/stream" in path or not path.startswith("/v1/"):
                continue
            for name, value in canaries.items() if "{" in path else [("", "")]:
                target = path.replace("{" + path.partition("{")[2].partition("}")[0] + "}", value)
                answer = await relay_app.client.request(method, target, headers=bearing(stranger["key"]), json={})
                tried += 1
                assert answer.status_code in {200, 201, 204, 400, 403, 404, 415} - _success_of("{" in path), target
                told = answer.text.replace(value, "") if name else answer.text
                assert not [canary for canary in canaries.values() if canary in told], (method, target)
    assert tried > 40
    searched = await relay_app.client.get("/v1/search", params={"q": "the"}, headers=bearing(stranger["key"]))
    assert not any(canary in searched.text for canary in canaries.values())
    for own in ("/v1/transcriptions/" + canaries["job"], "/v1/files/" + canaries["file"]):
        assert (await relay_app.client.get(own, headers=bearing(owner["key"]))).status_code == 200
        assert (await relay_app.client.get(own)).status_code == 200


def _success_of(names_a_thing: bool) -> set[int]:
    return {200, 201, 204} if names_a_thing else set()


async def _things_of(relay_app: RelayApp, headers: dict[str, str]) -> dict[str, str]:
    """One thing of each kind, by id, and a word that only its owner may read."""
    client, word = relay_app.client, "canary-of-the-owner"
    endpoint = (await client.post("/v1/endpoints", json={"url": relay_app.receiver_url}, headers=headers)).json()
    body = {**BODY, "client_reference_id": word, "metadata": {"word": word}}
    job = (await client.post("/v1/transcriptions", json=body, headers=headers)).json()
    await relay_app.finished(job["id"])
    file = (await client.post("/v1/files", files={"file": (f"{word}.wav", b"x")}, headers=headers)).json()
    [delivery] = (await client.get("/v1/deliveries", headers=headers)).json()["deliveries"]
    [event] = (await client.get("/v1/events", headers=headers)).json()["events"]
    ids = {"job": job["id"], "file": file["id"], "endpoint": endpoint["id"], "delivery": delivery["id"]}
    return {**ids, "event": event["id"], "word": word}


async def test_a_strangers_file_looks_like_none(relay_app: RelayApp) -> None:
    owner, stranger = await key_of(relay_app, "owner"), await key_of(relay_app, "stranger")
    file = (
        await relay_app.client.post("/v1/files", files={"file": ("a.wav", b"x")}, headers=bearing(owner["key"]))
    ).json()
    answers = [
        await relay_app.client.post(
            "/v1/transcriptions", json={"model": MODEL, "file_id": file_id}, headers=bearing(stranger["key"])
        )
        for file_id in (file["id"], NOWHERE)
    ]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json()["filename"] == answers[1].json()["filename"]
    for answer in answers:
        done = await relay_app.finished(answer.json()["id"])
        assert (done["status"], done["error_type"]) == ("error", "file_not_found")


async def test_lists_and_counts_hold_exactly_what_is_ones_own(relay_app: RelayApp) -> None:
    keys = {name: (await key_of(relay_app, name))["key"] for name in "ab"}
    owned: dict[str, dict[str, list[str]]] = {name: {"transcriptions": [], "files": []} for name in "ab"}
    plan = [*"abbaabbbaabab"]
    for number, name in enumerate(plan):
        headers = bearing(keys[name])
        kind = ("transcriptions", "files")[number % 2]
        if kind == "files":
            answer = await relay_app.client.post("/v1/files", files={"file": ("a", b"x")}, headers=headers)
        else:
            answer = await relay_app.client.post("/v1/transcriptions", content=json.dumps(BODY), headers=headers)
        owned[name][kind].append(answer.json()["id"])
        if number % 5 == 4:
            gone = owned[name][kind].pop(0)
            assert (await relay_app.client.delete(f"/v1/{kind}/{gone}", headers=headers)).status_code == 204
        await _sees_exactly_its_own(relay_app, keys, owned)


async def _sees_exactly_its_own(
    relay_app: RelayApp, keys: dict[str, str], owned: dict[str, dict[str, list[str]]]
) -> None:
    for name, key in keys.items():
        for kind, ids in owned[name].items():
            params = {"order": "asc"}
            listed = (await relay_app.client.get(f"/v1/{kind}", params=params, headers=bearing(key))).json()[kind]
            assert [one["id"] for one in listed] == sorted(ids)
            counted = (await relay_app.client.get(f"/v1/{kind}/count", headers=bearing(key))).json()
            assert counted["total"] == len(ids)
    everything = sum(len(ids) for kinds in owned.values() for ids in kinds.values())
    counts = [
        (await relay_app.client.get(f"/v1/{kind}/count")).json()["total"] for kind in ("transcriptions", "files")
    ]
    assert sum(counts) == everything
