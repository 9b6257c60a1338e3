"""Secrets change while everything goes on: what is valid is never refused, what has expired is never accepted.

`ROTATIONS` sets how many rotations each test makes; the long form is 1000.
"""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from starlette.responses import Response

from service.app import create_app
from service.cli.demo.servers import free_port
from service.crypto import SecretBox
from service.server import TimeoutHttpProtocol
from service.services.maintenance import reencrypt
from service.tables import Endpoint, Transcription
from tests.support.receiver import Received
from tests.support.relay_app import RelayApp, open_relay_app, settings_for
from tests.support.rows import all_of
from tests.support.servers import serving
from tests.support.waiting import until

ROTATIONS = int(os.environ.get("ROTATIONS", "5"))
SENDERS = 4
JOB = "0197a1b2-0000-7000-8000-000000000001"
NOTICE = {"id": "84c32fc6-4fb5-4e7a-b656-b5ec70493753", "status": "completed"}


def master(number: int) -> str:
    return f"master-secret-number-{number:06}"


class Soniox:
    """Sends webhooks for jobs of every age without a pause, and notes what was answered."""

    def __init__(self, port: int) -> None:
        self.now = 0  # the current master secret; the one before is valid, too
        self.stable = False  # not while the relay is being restarted
        self.counts: Counter[str] = Counter()
        self._url = f"http://127.0.0.1:{port}/webhooks/soniox?job={JOB}"

    async def send(self, client: httpx.AsyncClient, age: int) -> None:
        """One webhook whose header was made `age` rotations ago."""
        now = self.now
        secret = SecretBox([master(now - age).encode()]).webhook_secret(JOB)
        try:
            answer = await client.post(self._url, json=NOTICE, headers={"X-Soniox-Webhook-Secret": secret})
        except httpx.TransportError:
            return  # the relay is being restarted: Soniox would send it again
        if self.stable and self.now == now:
            self.counts[f"{'valid' if age in {0, 1} else 'expired'} {answer.status_code}"] += 1

    async def torment(self, stop: asyncio.Event) -> None:
        async with httpx.AsyncClient() as client:
            while not stop.is_set():
                for age in (0, 1, 2, 3, -1):  # -1: the one to come
                    await self.send(client, age)


@asynccontextmanager
async def sending(soniox: Soniox) -> AsyncIterator[None]:
    stop = asyncio.Event()
    senders = [asyncio.create_task(soniox.torment(stop)) for _ in range(SENDERS)]
    yield
    stop.set()
    await asyncio.gather(*senders)


async def test_the_master_secret_is_rotated_under_load_without_a_gap(database_url: str) -> None:
    port = free_port()
    soniox = Soniox(port)
    async with sending(soniox):
        for number in range(ROTATIONS):
            settings = settings_for(
                database_url,
                "http://127.0.0.1:1",
                port,
                soniox_api_webhook_secret=master(number),
                soniox_api_webhook_secret_previous=master(number - 1),
                relay_anonymous_requests_per_minute=0,
            )
            soniox.now = number
            async with serving(create_app(settings, with_worker=False), port, http=TimeoutHttpProtocol):
                soniox.stable = True
                await until_counted(soniox.counts, 40)
                soniox.stable = False
    assert set(soniox.counts) == {"valid 200", "expired 401"}, soniox.counts
    assert min(soniox.counts.values()) >= 8 * ROTATIONS


async def test_an_endpoints_secret_is_rotated_under_load_without_a_gap(database_url: str) -> None:
    """The receiver changes its secret with each rotation, and must be able to verify with it from then on."""
    async with open_relay_app(database_url) as relay_app:
        made = await relay_app.add_endpoint(event_types=["transcription.completed"])
        secrets, judged = [made["secret"]], Counter[str]()
        relay_app.receiver.answer = lambda request: judge(request, secrets, judged)
        stop = asyncio.Event()
        load = [asyncio.create_task(keep_submitting(relay_app, stop)) for _ in range(SENDERS)]
        for _ in range(ROTATIONS):
            await until_counted(judged, 6)
            answer = await relay_app.client.post(
                f"/v1/endpoints/{made['id']}/rotate-secret", json={"overlap_s": 3600}
            )
            secrets.append(answer.json()["secret"])
        stop.set()
        await asyncio.gather(*load)
    assert set(judged) == {"valid"}, judged


async def test_a_replaced_secret_signs_nothing_more_once_its_time_is_over(relay_app: RelayApp) -> None:
    made = await relay_app.add_endpoint(event_types=["ping"])
    path = f"/v1/endpoints/{made['id']}"
    secrets = [made["secret"]]
    for _ in range(ROTATIONS):
        secrets.append(
            (await relay_app.client.post(f"{path}/rotate-secret", json={"overlap_s": 0})).json()["secret"]
        )
        await relay_app.client.post(f"{path}/test")
        ping = relay_app.receiver.at("/events")[-1]
        assert [verifies(secret, ping) for secret in secrets] == [False] * (len(secrets) - 1) + [True]


async def test_what_the_previous_master_secret_sealed_outlives_it(database_url: str) -> None:
    async with open_relay_app(database_url, soniox_api_webhook_secret=master(1)) as relay_app:
        made = await relay_app.add_endpoint(headers={"X-Tenant": "ours"})
        await relay_app.client.post(f"/v1/endpoints/{made['id']}/rotate-secret", json={"overlap_s": 3600})
        callback = {"webhook_url": relay_app.receiver_url + "/mine"}
        callback |= {"webhook_auth_header_name": "X-Mine", "webhook_auth_header_value": "of-the-caller"}
        await relay_app.finished((await relay_app.submit(**callback))["id"])
        before = await sealed_in(relay_app)
    changes: dict[str, Any] = {"soniox_api_webhook_secret": master(2)}
    async with open_relay_app(database_url, **changes, soniox_api_webhook_secret_previous=master(1)) as relay_app:
        await relay_app.until(lambda: all_changed(relay_app, before))
        assert await reencrypt(relay_app.relay) == 0  # nothing is left to do
    async with open_relay_app(database_url, **changes) as relay_app:
        for sealed in await sealed_in(relay_app):
            assert relay_app.relay.secret_box.decrypt(sealed)
        ping = (await relay_app.client.post(f"/v1/endpoints/{made['id']}/test")).json()
        assert ping["delivered"], ping
        assert relay_app.receiver.at("/events")[-1].headers["x-tenant"] == "ours"


async def sealed_in(relay_app: RelayApp) -> list[str]:
    """Everything that is sealed."""
    [row] = await all_of(relay_app.relay.db, Endpoint)
    past = [one["sealed"] for one in row.previous_secrets]
    callbacks = [job.callback_secret_encrypted for job in await all_of(relay_app.relay.db, Transcription)]
    return [one for one in [row.secret_encrypted, row.headers_encrypted, *past, *callbacks] if one]


async def all_changed(relay_app: RelayApp, before: list[str]) -> bool:
    return not set(before) & set(await sealed_in(relay_app))


async def keep_submitting(relay_app: RelayApp, stop: asyncio.Event) -> None:
    while not stop.is_set():
        await relay_app.finished((await relay_app.submit())["id"])


async def until_counted(counts: Counter[str], number: int) -> None:
    """Wait for that many more."""
    enough = counts.total() + number
    await until(lambda: counts.total() >= enough, within_s=60)


def judge(request: Received, secrets: list[str], judged: Counter[str]) -> Response:
    """What a receiver says that may know the newest secret already, or only the one before."""
    known = secrets[-2:]
    judged["valid" if any(verifies(secret, request) for secret in known) else "refused"] += 1
    return Response()


def verifies(secret: str, request: Received) -> bool:
    try:
        Webhook(secret).verify(request.body, dict(request.headers))
    except WebhookVerificationError:
        return False
    return True
