"""The webhook route: the header before the body, 2xx only for what is on disk, nothing written otherwise."""

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from service.api import middleware
from service.crypto import SecretBox
from service.db import engines
from service.relay import Relay
from service.tables import Webhook
from tests.support.metrics import figure, scrape
from tests.support.postgres import execute
from tests.support.relay_app import MASTER_SECRET, open_relay_app
from tests.support.rows import all_of
from tests.support.servers import http_client
from tests.test_dashboard import sign_in

JOB = "0197a1b2-0000-7000-8000-000000000001"
OTHER_JOB = "0197a1b2-0000-7000-8000-000000000002"
SONIOX_ID = "84c32fc6-4fb5-4e7a-b656-b5ec70493753"
PREVIOUS_SECRET = "the-master-secret-before-this-00"
NOTICE = {"id": SONIOX_ID, "status": "completed"}
MISSING = "the webhook header is missing or wrong"
HEADER = "X-Soniox-Webhook-Secret"
KICK_OUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'"


@dataclass
class WebhookClient:
    """A relay that takes webhooks in and has nobody who works on them."""

    client: httpx.AsyncClient
    relay: Relay
    port: int

    async def post(self, body: Any = NOTICE, job: str = JOB, secret: str | None = None) -> httpx.Response:
        """A webhook as Soniox sends it; bytes and streams go out as they are."""
        content = json.dumps(body).encode() if isinstance(body, dict | list | str | int) else body
        headers = {HEADER: derived(job) if secret is None else secret, "Content-Type": "application/json"}
        url = f"/webhooks/soniox?job={job}" if job else "/webhooks/soniox"
        return await self.client.post(url, content=content, headers=headers)

    async def inbox(self) -> list[Webhook]:
        """What is stored."""
        return sorted(await all_of(self.relay.db, Webhook), key=lambda row: row.id)

    async def inbox_page(self) -> str:
        """The page that shows the recent calls, as an operator sees it."""
        origin = str(self.client.base_url).rstrip("/")
        async with httpx.AsyncClient(base_url=origin, headers={"Origin": origin}, trust_env=False) as browser:
            await sign_in(browser)
            return (await browser.get("/ui/inbox")).text

    async def refuses(self, answer: httpx.Response, status_code: int, error_type: str, message: str = "") -> None:
        """It was refused in Soniox's error body, without a secret, and nothing was kept."""
        body = answer.json()
        assert body["message"] == (message or MISSING)
        assert (answer.status_code, body["status_code"], body["error_type"]) == (
            status_code,
            status_code,
            error_type,
        )
        assert body["request_id"] == answer.headers["x-request-id"]
        assert set(body) == {
            "status_code",
            "error_type",
            "message",
            "validation_errors",
            "request_id",
            "more_info",
        }
        for secret in (MASTER_SECRET, PREVIOUS_SECRET, derived(JOB), derived("")):
            assert secret not in answer.text
        assert await self.inbox() == []


def derived(job: str, master: str = MASTER_SECRET) -> str:
    """The header value of a job, or the master secret for none."""
    return SecretBox([master.encode()]).webhook_secret(job) if job else master


@pytest.fixture(autouse=True)
def gives_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file of SQLite that another program has locked."""
    monkeypatch.setattr(engines, "LOCK_TIMEOUT_S", 0.3)


@pytest.fixture
async def webhooks(database_url: str, capfd: pytest.CaptureFixture[str]) -> AsyncIterator[WebhookClient]:
    """A client of a relay without a worker; whatever a test does to it, no secret may come out in the log."""
    settings: dict[str, Any] = {"soniox_api_webhook_secret_previous": PREVIOUS_SECRET}
    async with (
        open_relay_app(database_url, with_worker=False, **settings) as app,
        http_client(app.server.url, timeout=15) as client,
    ):
        yield WebhookClient(client, app.relay, app.server.port)
    logged = "".join(capfd.readouterr())
    assert "relay_started" in logged
    for secret in (
        MASTER_SECRET,
        PREVIOUS_SECRET,
        derived(JOB),
        derived(OTHER_JOB),
        derived(JOB, PREVIOUS_SECRET),
    ):
        assert secret not in logged


async def test_a_webhook_is_stored_as_it_came_and_is_due_at_once(webhooks: WebhookClient) -> None:
    answer = await webhooks.post()
    assert (answer.status_code, answer.json()) == (200, {"received": True})
    [row] = await webhooks.inbox()
    assert (row.transcription_id, row.soniox_id, row.status, row.source, row.receive_count) == (
        JOB,
        SONIOX_ID,
        "completed",
        "webhook",
        1,
    )
    assert row.due_at_ms == row.received_at_ms
    assert abs(row.received_at_ms - webhooks.relay.clock()) < 5_000


async def test_the_callers_own_request_id_is_kept(webhooks: WebhookClient) -> None:
    for code, secret in ((200, derived(JOB)), (401, "wrong")):
        headers = {HEADER: secret, "X-Request-ID": "soniox-7"}
        answer = await webhooks.client.post(f"/webhooks/soniox?job={JOB}", json=NOTICE, headers=headers)
        assert (answer.status_code, answer.headers["x-request-id"]) == (code, "soniox-7")


async def test_other_parameters_around_the_job_change_nothing(webhooks: WebhookClient) -> None:
    url = f"/webhooks/soniox?from=soniox&job={JOB}&attempt=2"
    answer = await webhooks.client.post(url, json=NOTICE, headers={HEADER: derived(JOB)})
    assert answer.status_code == 200
    assert [row.transcription_id for row in await webhooks.inbox()] == [JOB]


async def test_what_cannot_be_a_job_is_refused_even_with_the_value_derived_from_it(
    webhooks: WebhookClient,
) -> None:
    await webhooks.refuses(await webhooks.post(job="seven"), 401, "unauthenticated")


async def test_who_works_on_the_inbox_is_woken(webhooks: WebhookClient) -> None:
    sleeping = asyncio.create_task(webhooks.relay.notifier.wait("collect", 60))
    await webhooks.post()
    await asyncio.wait_for(sleeping, 30)


async def test_how_long_storing_took_is_counted(webhooks: WebhookClient) -> None:
    counted, took_s = await stored_so_far(webhooks)
    await webhooks.post()
    counted_then, took_then_s = await stored_so_far(webhooks)
    assert counted_then == counted + 1
    assert 0 <= took_then_s - took_s < 60


async def stored_so_far(webhooks: WebhookClient) -> tuple[float, float]:
    """How many webhooks, and the seconds of all together."""
    labels = {"method": "POST", "route": "/webhooks/soniox", "code": "200"}
    figures = await scrape(webhooks.client)
    counted = figure(figures, "relay_http_request_seconds_count", **labels)
    return counted, figure(figures, "relay_http_request_seconds_sum", **labels)


async def test_a_job_nobody_knows_is_stored_too_for_its_row_may_only_be_late(webhooks: WebhookClient) -> None:
    assert (await webhooks.post(job=OTHER_JOB)).status_code == 200
    assert [row.transcription_id for row in await webhooks.inbox()] == [OTHER_JOB]


async def test_a_webhook_without_a_job_needs_the_master_secret_itself(webhooks: WebhookClient) -> None:
    assert (await webhooks.post(job="", secret=derived(JOB))).status_code == 401
    assert (await webhooks.post(job="")).status_code == 200
    assert [row.transcription_id for row in await webhooks.inbox()] == [""]


async def test_duplicates_are_answered_200_and_counted_in_one_row(webhooks: WebhookClient) -> None:
    answers = [*await asyncio.gather(*[webhooks.post() for _ in range(19)]), await webhooks.post()]
    assert {answer.status_code for answer in answers} == {200}
    [row] = await webhooks.inbox()
    assert row.receive_count == 20


async def test_another_status_of_the_same_transcription_is_another_row(webhooks: WebhookClient) -> None:
    await webhooks.post()
    await webhooks.post({"id": SONIOX_ID, "status": "error"})
    await webhooks.post({"id": SONIOX_ID.upper(), "status": "error"})
    assert sorted((row.status, row.receive_count) for row in await webhooks.inbox()) == [
        ("completed", 1),
        ("error", 2),
    ]


async def test_fields_to_come_and_words_to_come_are_taken(webhooks: WebhookClient) -> None:
    answer = await webhooks.post({"id": SONIOX_ID, "status": "partially_done", "more": {"a": [1]}})
    assert answer.status_code == 200


@pytest.mark.parametrize("job", [JOB, ""])
async def test_the_previous_master_secret_is_still_accepted(webhooks: WebhookClient, job: str) -> None:
    assert (await webhooks.post(job=job, secret=derived(job, PREVIOUS_SECRET))).status_code == 200


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "wrong",
        MASTER_SECRET,
        derived(OTHER_JOB),
        derived(JOB)[:-1],
        derived(JOB) + "x",
        derived(JOB).swapcase(),
        derived(JOB, "some-other-master-secret-000001"),
        f"Bearer {derived(JOB)}",
    ],
)
async def test_a_wrong_header_is_refused(webhooks: WebhookClient, secret: str) -> None:
    await webhooks.refuses(await webhooks.post(secret=secret), 401, "unauthenticated")


async def test_a_missing_header_is_refused(webhooks: WebhookClient) -> None:
    answer = await webhooks.client.post(f"/webhooks/soniox?job={JOB}", json=NOTICE)
    await webhooks.refuses(answer, 401, "unauthenticated")


async def test_a_header_that_is_not_ascii_is_refused(webhooks: WebhookClient) -> None:
    headers = {HEADER.encode(): derived(JOB).encode() + b"\xff\xc3\xa4"}
    await webhooks.refuses(
        await webhooks.client.post(f"/webhooks/soniox?job={JOB}", json=NOTICE, headers=headers),
        401,
        "unauthenticated",
    )


async def test_a_stranger_learns_the_same_whatever_is_wrong_with_the_body(webhooks: WebhookClient) -> None:
    answers = [await webhooks.post(body, secret="wrong") for body in (NOTICE, b"not json", b"x" * 40_000)]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.json()["message"] for answer in answers}) == 1


async def test_the_header_is_checked_before_the_body_is_read(webhooks: WebhookClient) -> None:
    """A stranger who promises a body and never sends it is answered at once."""
    async with begun(webhooks, "wrong", "Content-Length: 80", b"") as reader:
        status = await asyncio.wait_for(reader.readline(), 2)
        assert status.startswith(b"HTTP/1.1 401")
    assert await webhooks.inbox() == []


@asynccontextmanager
async def begun(
    webhooks: WebhookClient, secret: str, framing: str, part: bytes
) -> AsyncIterator[asyncio.StreamReader]:
    """A request on the wire whose body is `part` so far, with more to come."""
    reader, writer = await asyncio.open_connection("127.0.0.1", webhooks.port)
    head = [f"POST /webhooks/soniox?job={JOB} HTTP/1.1", "Host: relay", f"{HEADER}: {secret}", framing, "", ""]
    writer.write("\r\n".join(head).encode() + part)
    await writer.drain()
    try:
        yield reader
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_body_that_does_not_arrive_is_given_up(
    webhooks: WebhookClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middleware, "WEBHOOK_BODY", middleware.WEBHOOK_BODY._replace(within_s=0.2))
    async with begun(webhooks, derived(JOB), "Content-Length: 80", b'{"id"') as reader:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert head.startswith(b"HTTP/1.1 408")
        body = await asyncio.wait_for(reader.readuntil(b"}"), 5)
        assert b'"error_type":"request_timeout","message":"the body did not arrive in time"' in body
    assert await webhooks.inbox() == []


async def test_a_body_that_breaks_off_is_not_taken_even_if_it_reads_well(webhooks: WebhookClient) -> None:
    before = await refused_so_far(webhooks)
    async with begun(webhooks, derived(JOB), "Content-Length: 200", json.dumps(NOTICE).encode()):
        pass
    async with asyncio.timeout(20):
        while await refused_so_far(webhooks) == before:
            pass
    assert await webhooks.inbox() == []


async def refused_so_far(webhooks: WebhookClient) -> float:
    """How many bodies were no notice."""
    labels = {"method": "POST", "route": "/webhooks/soniox", "code": "400"}
    return figure(await scrape(webhooks.client), "relay_http_request_seconds_count", **labels)


def test_the_wait_for_a_body_is_what_the_documents_say() -> None:
    assert middleware.WEBHOOK_BODY == (16_384, 5)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"\xff\xfe\x00",
        b'{"id":',
        b"[]",
        b"null",
        b'"completed"',
        b"{}",
        b"[" * 16_000,
        json.dumps({"id": SONIOX_ID}).encode(),
        json.dumps({"status": "completed"}).encode(),
        json.dumps({"id": 7, "status": "completed"}).encode(),
        json.dumps({"id": SONIOX_ID, "status": None}).encode(),
        json.dumps({"id": SONIOX_ID, "status": ""}).encode(),
        json.dumps({"id": SONIOX_ID, "status": "x" * 65}).encode(),
        json.dumps({"id": SONIOX_ID, "status": "comp\0leted"}).encode(),
        json.dumps({"id": SONIOX_ID, "status": "a\nb"}).encode(),
        b'{"id":"' + SONIOX_ID.encode() + b'","status":"\\ud800"}',
        json.dumps({"id": "../../files", "status": "completed"}).encode(),
        json.dumps({"id": SONIOX_ID + "0", "status": "completed"}).encode(),
        json.dumps({"id": "' OR 1=1 --", "status": "completed"}).encode(),
    ],
)
async def test_garbage_is_refused(webhooks: WebhookClient, body: bytes) -> None:
    said = 'the body is not {"id": uuid, "status": string}'
    await webhooks.refuses(await webhooks.post(body), 400, "invalid_request", said)


async def test_a_body_of_16_kib_is_taken_and_one_byte_more_is_not(webhooks: WebhookClient) -> None:
    notice = json.dumps(NOTICE).encode()
    said = "the body is longer than 16384 bytes"
    await webhooks.refuses(await webhooks.post(notice.ljust(16 * 1024 + 1)), 413, "request_too_large", said)
    assert (await webhooks.post(notice.ljust(16 * 1024))).status_code == 200


async def test_a_body_without_a_length_is_refused_as_soon_as_it_is_too_long(webhooks: WebhookClient) -> None:
    """The answer comes while the sender is still in the middle of it."""
    piece = b"1000\r\n" + b" " * 0x1000 + b"\r\n"
    async with begun(webhooks, derived(JOB), "Transfer-Encoding: chunked", piece * 5) as reader:
        status = await asyncio.wait_for(reader.readline(), 3)
        assert status.startswith(b"HTTP/1.1 413")
    assert await webhooks.inbox() == []


async def test_a_chunked_body_of_the_right_size_is_taken(webhooks: WebhookClient) -> None:
    async def chunked() -> AsyncIterator[bytes]:
        for start in range(0, 80, 8):
            yield json.dumps(NOTICE).encode().ljust(80)[start : start + 8]

    assert (await webhooks.post(chunked())).status_code == 200


async def test_what_cannot_be_stored_is_answered_503_so_that_soniox_sends_it_again(
    webhooks: WebhookClient,
) -> None:
    async with unable_to_write(webhooks):
        started = time.monotonic()
        answers = await asyncio.gather(*[webhooks.post() for _ in range(5)])
        assert time.monotonic() - started < 10
        for answer in answers:
            assert answer.status_code == 503
            assert answer.json()["error_type"] == "service_unavailable"
            assert answer.json()["message"].startswith("nothing was kept: ")
            assert int(answer.headers["retry-after"]) > 0
    assert await webhooks.inbox() == []
    assert (await webhooks.post()).status_code == 200
    assert len(await webhooks.inbox()) == 1
    assert "database did not take it" in await webhooks.inbox_page()


@asynccontextmanager
async def unable_to_write(webhooks: WebhookClient) -> AsyncIterator[None]:
    """SQLite's file is locked by another program; PostgreSQL sends everybody away."""
    url = webhooks.relay.settings.database_url
    server, name = url.rsplit("/", 1)
    if webhooks.relay.db.is_sqlite:
        path = url.removeprefix("sqlite:///")
        other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        await asyncio.to_thread(other.execute, "BEGIN EXCLUSIVE")  # the relay may still be writing
        yield
        other.execute("ROLLBACK")
        other.close()
    else:
        await execute(server, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await execute(server, KICK_OUT.format(name))
        yield
        await execute(server, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


async def test_what_nobody_foresaw_is_answered_500_in_sonioxs_error_body_and_logged(
    webhooks: WebhookClient,
) -> None:
    await webhooks.relay.db.write(lambda session: session.execute(text(WHIM[webhooks.relay.db.dialect.name])))
    with capture_logs() as logged:
        answer = await webhooks.post()
    await webhooks.refuses(
        answer, 500, "internal_error", "an unforeseen error; the request id finds it in the log"
    )
    [line] = [line for line in logged if line["event"] == "request_failed"]
    assert line["request_id"] == answer.headers["x-request-id"]


WHIM = {
    "postgresql": "ALTER TABLE webhooks ADD CONSTRAINT whim CHECK (status <> 'completed')",
    "sqlite": """CREATE TRIGGER whim BEFORE INSERT ON webhooks WHEN NEW.status = 'completed'
                 BEGIN SELECT RAISE(ABORT, 'a whim'); END""",
}


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_only_post_is_taken(webhooks: WebhookClient, method: str) -> None:
    answer = await webhooks.client.request(method, f"/webhooks/soniox?job={JOB}", headers={HEADER: derived(JOB)})
    assert answer.headers["allow"] == "POST"
    await webhooks.refuses(answer, 405, "method_not_allowed", "Method Not Allowed")


async def test_the_header_has_the_name_that_the_settings_give_it(database_url: str) -> None:
    async with open_relay_app(database_url, with_worker=False, soniox_api_webhook_header="X-Ours") as app:
        for name, expected in ((HEADER, 401), ("x-ours", 200)):
            answer = await app.client.post(
                f"/webhooks/soniox?job={JOB}", json=NOTICE, headers={name: derived(JOB)}
            )
            assert answer.status_code == expected
