"""Who comes without a good key has a small budget for each address; who has one is never held to it."""

from collections.abc import AsyncIterator

import httpx
import pytest

from service import rate_limits
from service.crypto import SecretBox
from service.rate_limits import AnonymousRateLimiter, RateLimiter, acquire
from tests.support.relay_app import ADMIN_KEY, MASTER_SECRET, RelayApp, open_relay_app

pytestmark = pytest.mark.one_database  # addresses are counted in memory

JOB = "0197a1b2-0000-7000-8000-000000000001"
NOTICE = {"id": "84c32fc6-4fb5-4e7a-b656-b5ec70493753", "status": "completed"}
BUDGET = 8


@pytest.fixture
async def tight(database_url: str) -> AsyncIterator[RelayApp]:
    """A relay that bears little from strangers."""
    async with open_relay_app(database_url, relay_anonymous_requests_per_minute=BUDGET) as relay_app:
        yield relay_app


async def webhook(relay_app: RelayApp, secret: str) -> httpx.Response:
    headers = {"X-Soniox-Webhook-Secret": secret}
    return await relay_app.client.post(f"/webhooks/soniox?job={JOB}", json=NOTICE, headers=headers)


async def test_guesses_are_refused_before_the_database_is_asked_and_good_keys_are_not(tight: RelayApp) -> None:
    made = (await tight.client.post("/v1/keys", json={"name": "late", "scopes": ["read"]})).json()["key"]
    good, late = {"Authorization": f"Bearer {ADMIN_KEY}"}, {"Authorization": f"Bearer {made}"}
    async with httpx.AsyncClient(base_url=tight.server.url) as client:
        guesses = [
            await client.get("/v1/models", headers={"Authorization": f"Bearer guess-{n}"})
            for n in range(BUDGET + 4)
        ]
        codes = [guess.status_code for guess in guesses]
        assert codes[:BUDGET] == [401] * BUDGET
        assert codes[-1] == 429
        assert guesses[-1].json()["error_type"] == "limit_exceeded"
        assert 1 <= int(guesses[-1].headers["retry-after"]) <= 60 / BUDGET + 1
        assert (await client.get("/v1/models", headers=good)).status_code == 200
        assert (
            await client.get("/v1/models", headers=late)
        ).status_code == 429  # never seen before: it has to wait
        assert (await client.get("/livez")).status_code == 200


async def test_good_keys_spend_nothing_and_one_that_was_good_does_not_make_a_guess_free(tight: RelayApp) -> None:
    keys = [
        (await tight.client.post("/v1/keys", json={"name": str(n), "scopes": ["read"]})).json()
        for n in range(BUDGET * 2)
    ]
    async with httpx.AsyncClient(base_url=tight.server.url) as client:
        for made in keys:
            headers = {"Authorization": f"Bearer {made['key']}"}
            assert (await client.get("/v1/models", headers=headers)).status_code == 200
        revoked = {"Authorization": f"Bearer {keys[0]['key']}"}
        assert (await tight.client.delete(f"/v1/keys/{keys[0]['id']}")).status_code == 204
        codes = [(await client.get("/v1/models", headers=revoked)).status_code for _ in range(BUDGET + 4)]
        assert (codes[0], codes[-1]) == (401, 429)


async def test_a_verified_webhook_is_stored_whatever_strangers_do_from_its_address(tight: RelayApp) -> None:
    async with httpx.AsyncClient(base_url=tight.server.url) as client:
        guesses = [await client.get("/v1/models", headers={"Authorization": "Bearer guess"}) for _ in range(20)]
    assert guesses[-1].status_code == 429
    right = SecretBox([MASTER_SECRET.encode()]).webhook_secret(JOB)
    assert [(await webhook(tight, right)).status_code for _ in range(BUDGET * 2)] == [200] * BUDGET * 2


async def test_a_forged_webhook_is_answered_401_however_often_and_counts_as_a_guess(tight: RelayApp) -> None:
    forged = [await webhook(tight, "forged") for _ in range(BUDGET + 4)]
    assert {answer.status_code for answer in forged} == {401}
    assert len({without_id(answer) for answer in forged}) == 1
    async with httpx.AsyncClient(base_url=tight.server.url) as client:
        guess = await client.get("/v1/models", headers={"Authorization": "Bearer guess"})
    assert guess.status_code == 429


def without_id(answer: httpx.Response) -> str:
    """All that it says, but for the id of the request."""
    said = {name: value for name, value in answer.headers.items() if name not in {"date", "x-request-id"}}
    return f"{said} {answer.json() | {'request_id': ''}}"


async def test_guesses_at_the_sign_in_are_counted_too(tight: RelayApp) -> None:
    async with httpx.AsyncClient(base_url=tight.server.url, headers={"Origin": tight.server.url}) as client:
        codes = [
            (await client.post("/ui/sign-in", data={"key": f"guess-{n}"})).status_code for n in range(BUDGET + 4)
        ]
        assert (codes[0], codes[-1]) == (401, 429)


async def test_an_address_does_not_pay_for_another(tight: RelayApp) -> None:
    async with httpx.AsyncClient(base_url=tight.server.url) as client:  # the server trusts a proxy on its own host

        async def code_for(address: str) -> int:
            return (await client.get("/v1/models", headers={"X-Forwarded-For": address})).status_code

        assert {await code_for("192.0.2.1") for _ in range(BUDGET + 4)} == {401, 429}
        assert await code_for("192.0.2.2") == 401
        assert {await code_for(f"2001:db8::{n:x}") for n in range(BUDGET + 4)} == {401, 429}  # one /64
        assert await code_for("2001:db8:0:1::1") == 401


def test_what_is_remembered_of_strangers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "MAX_BUCKETS", 50)
    limits = RateLimiter(10)
    for number in range(500):
        acquire(limits, str(number))
    assert list(limits.buckets) == [str(number) for number in range(450, 500)]


def test_without_a_limit_nobody_is_refused() -> None:
    strangers = AnonymousRateLimiter(0)
    assert [strangers.count("192.0.2.1") for _ in range(1000)] == [0] * 1000
