"""Logs: their two shapes, what ties their lines together, and that no secret gets into them or anywhere else."""

import asyncio
import json
import re
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from starlette.responses import Response

from service.crypto import SecretBox
from service.sandbox.app import create_sandbox
from service.sandbox.state import SandboxConfig
from tests.support.postgres import execute
from tests.support.receiver import Receiver
from tests.support.relay_processes import ServingRelay, relay_process
from tests.support.servers import serving
from tests.support.waiting import until

KICK_OUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'"
MODEL = "stt-async-v5"
SONIOX_KEY = "canary-soniox-key-000000000001"
MASTER = "canary-master-secret-0000000001"
ADMIN_KEY = "canary-admin-key-00000000000001"
CALLBACK_SECRET = "canary-callback-value-00000001"
URL_SECRET = "canary-in-the-query-of-a-url-01"
GIVEN = {
    "SONIOX_API_KEY": SONIOX_KEY,
    "SONIOX_API_WEBHOOK_SECRET": MASTER,
    "RELAY_API_KEY": ADMIN_KEY,
    "RELAY_ALLOWED_DESTINATIONS": "127.0.0.1",
    "RELAY_DELIVERY_SCHEDULE_S": "0.05,0.05",
    "LOG_LEVEL": "debug",
}


@dataclass
class Street:
    """A relay process and its neighbours."""

    relay: ServingRelay
    client: httpx.AsyncClient
    soniox: httpx.AsyncClient
    receiver: Receiver
    receiver_url: str
    database_url: str
    answers: list[str]  # the body of everything the relay refused

    async def submit(self, **fields: Any) -> str:
        body = {"model": MODEL, "audio_url": f"https://sandbox.invalid/tokens=40?sig={URL_SECRET}", **fields}
        answer = await self.client.post("/v1/transcriptions", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def finished(self, job: str) -> dict[str, Any]:
        found = await self.client.get(f"/v1/transcriptions/{job}", params={"wait": 20})
        assert found.json()["status"] in {"completed", "error"}, found.text
        return dict(found.json())

    async def faults(self, **knobs: Any) -> None:
        assert (await self.soniox.put("/_sandbox/faults", json=knobs)).status_code == 200

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.relay.logged().splitlines()]


@asynccontextmanager
async def open_street(database_url: str, folder: Path, **settings: str) -> AsyncIterator[Street]:
    """Start everything."""
    quick = SandboxConfig(api_key=SONIOX_KEY, recognise="script", processing_ms=10, requests_per_minute=None)
    receiver = Receiver()
    answers: list[str] = []

    async def keep(response: httpx.Response) -> None:
        if response.is_error:
            answers.append((await response.aread()).decode())

    async with AsyncExitStack() as stack:
        soniox = await stack.enter_async_context(serving(create_sandbox(quick)))
        downstream = await stack.enter_async_context(serving(receiver.app()))
        given = {**GIVEN, "SONIOX_API_BASE_URL": soniox.url, "DATABASE_URL": database_url, **settings}
        relay = await stack.enter_async_context(relay_process(folder, **given))
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
        hooks: Any = {"response": [keep]}
        client = httpx.AsyncClient(base_url=relay.url, headers=headers, timeout=30, event_hooks=hooks)
        direct = httpx.AsyncClient(base_url=soniox.url)
        yield Street(
            relay,
            await stack.enter_async_context(client),
            await stack.enter_async_context(direct),
            receiver,
            downstream.url,
            database_url,
            answers,
        )


async def test_json_logs_have_one_object_in_each_line_with_the_same_names(
    database_url: str, tmp_path: Path
) -> None:
    async with open_street(database_url, tmp_path, LOG_FORMAT="json") as street:
        job = await street.submit()
        await street.finished(job)
        lines = street.lines()
    assert {"relay_started", "transcription_finished"} <= {line["event"] for line in lines}
    for line in lines:
        assert {"event", "level", "logger", "ts"} <= set(line)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line["ts"])
    assert [line["job_id"] for line in lines if line["event"] == "transcription_finished"] == [job]


async def test_a_line_names_the_request_it_belongs_to(database_url: str, tmp_path: Path) -> None:
    async with open_street(database_url, tmp_path, LOG_FORMAT="json") as street:
        job = "0197a1b2-0000-7000-8000-000000000001"
        async with unable_to_write(street):
            answer = await street.client.post(
                f"/webhooks/soniox?job={job}",
                headers={
                    "X-Soniox-Webhook-Secret": SecretBox([MASTER.encode()]).webhook_secret(job),
                    "X-Request-ID": "given-by-the-caller.1",
                },
                json={"id": "84c32fc6-4fb5-4e7a-b656-b5ec70493753", "status": "completed"},
            )
        assert (answer.status_code, answer.headers["x-request-id"]) == (503, "given-by-the-caller.1")
        [line] = [line for line in street.lines() if line["event"] == "webhook_not_stored"]
    assert (line["request_id"], line["job_id"]) == ("given-by-the-caller.1", job)


@asynccontextmanager
async def unable_to_write(street: Street) -> AsyncIterator[None]:
    """Somebody else holds the table, or the file."""
    if street.database_url.startswith("sqlite"):
        connection = sqlite3.connect(street.database_url.removeprefix("sqlite:///"), isolation_level=None)
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.close()
    else:
        server, name = street.database_url.rsplit("/", 1)
        await execute(server, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        await execute(server, KICK_OUT.format(name))
        yield
        await execute(server, f"ALTER DATABASE {name} RESET default_transaction_read_only")
        await execute(server, KICK_OUT.format(name))


async def test_a_request_id_that_could_spoil_a_line_is_replaced(tmp_path: Path) -> None:
    async with open_street(f"sqlite:///{tmp_path / 'r.db'}", tmp_path) as street:
        for request_id in ("x" * 129, "two words", "line\\nbreak", 'quote"', ""):
            answer = await street.client.get("/livez", headers={"X-Request-ID": request_id})
            assert re.fullmatch(r"req_[0-9a-f]{32}", answer.headers["x-request-id"]), request_id


async def test_console_logs_are_lines_for_people(tmp_path: Path) -> None:
    async with open_street(f"sqlite:///{tmp_path / 'r.db'}", tmp_path, LOG_FORMAT="console") as street:
        await street.finished(await street.submit())
        logged = street.relay.logged()
    assert re.search(r"^\d{4}-\S+Z \[info +\] relay_started ", logged, re.MULTILINE)
    assert "\x1b[" not in logged  # colours are for terminals


async def test_the_level_leaves_out_what_is_below_it(tmp_path: Path) -> None:
    settings = {"LOG_FORMAT": "json", "LOG_LEVEL": "warning"}
    async with open_street(f"sqlite:///{tmp_path / 'r.db'}", tmp_path, **settings) as street:
        await street.finished(await street.submit())
        assert {line["level"] for line in street.lines()} <= {"warning", "error"}


async def test_no_secret_gets_into_logs_errors_metrics_or_the_database(database_url: str, tmp_path: Path) -> None:
    """Every secret there is goes through good and bad journeys; then it is looked for everywhere."""
    async with open_street(database_url, tmp_path, LOG_FORMAT="json") as street:
        endpoint = await subscribe(street)
        key = await street.client.post("/v1/keys", json={"name": "canary", "scopes": ["submit", "read"]})
        assert key.status_code == 201, key.text
        jobs = await good_and_bad_journeys(street)
        await misuse(street, jobs[0], key.json()["key"])
        answer = await street.client.get(f"/v1/transcriptions/{jobs[0]}/transcript")
        spoken = answer.json()["text"]
        assert len(spoken) > 60
        metrics = (await street.client.get("/metrics")).text
        logged = street.relay.logged()
        refused = "\n".join(street.answers)
        stored = await texts_of(database_url)

    derived = [SecretBox([MASTER.encode()]).webhook_secret(job) for job in jobs]
    secrets = [SONIOX_KEY, MASTER, ADMIN_KEY, CALLBACK_SECRET, endpoint, key.json()["key"], *derived]
    assert {"submission_postponed", "delivery_failed"} <= {
        line["event"] for line in map(json.loads, logged.splitlines())
    }
    assert len(street.answers) >= 8
    for place, content in (("log", logged), ("errors", refused), ("metrics", metrics), ("database", stored)):
        found = [secret for secret in secrets if secret in content or secret.removeprefix("whsec_") in content]
        assert found == [], place
    for place, content in (("log", logged), ("errors", refused), ("metrics", metrics)):
        assert [part for part in (spoken, spoken[:30], URL_SECRET) if part in content] == [], place
    assert jobs[0] in stored  # the search does look at what is there


@pytest.mark.parametrize("table", ["search_words", "transcripts"])
async def test_an_unforeseen_error_brings_no_text_into_the_log_and_says_whose_it_is(
    database_url: str, tmp_path: Path, table: str
) -> None:
    """A table is gone while a result is stored, in a statement that has the words in it."""
    async with open_street(database_url, tmp_path, LOG_FORMAT="json") as street:
        await subscribe(street)
        good = await street.submit()
        await street.finished(good)
        answer = await street.client.get(f"/v1/transcriptions/{good}/transcript")
        await alter(database_url, f"ALTER TABLE {table} RENAME TO lost")
        job = await street.submit()
        await until(lambda: bool(in_trouble(street)), within_s=20)
        broken = in_trouble(street)
        logged = street.relay.logged()
    assert {(line["queue"], line["job_id"]) for line in broken} == {("collect", job)}
    words = re.findall(r"\w+", answer.json()["text"].lower())
    assert len(words) > 20
    assert " ".join(words[:3]) not in logged.lower()
    assert "[parameters:" not in logged  # a statement may be told, never what it was to write
    assert "whsec_" not in logged


@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_a_row_that_the_database_refuses_is_not_repeated_in_the_log(
    database_url: str, tmp_path: Path, log_format: str
) -> None:
    """PostgreSQL explains a broken constraint with the values of the row, SQLite with its name."""
    if database_url.startswith("sqlite"):
        pytest.skip("SQLite cannot add a constraint to a table, and tells no values")
    rule = "ALTER TABLE transcriptions ADD CONSTRAINT whim CHECK (client_reference_id <> 'unwanted')"
    async with open_street(database_url, tmp_path, LOG_FORMAT=log_format) as street:
        await alter(database_url, rule)
        body = {"model": MODEL, "audio_url": f"https://sandbox.invalid/a?sig={URL_SECRET}"}
        answer = await street.client.post(
            "/v1/transcriptions", json={**body, "client_reference_id": "unwanted", "context": "line\nline"}
        )
        logged = street.relay.logged()
    assert answer.status_code == 500
    assert '"whim"' in logged.replace("\\", "")  # it says which constraint
    assert "(left out)" in logged
    assert URL_SECRET not in logged + answer.text


def in_trouble(street: Street) -> list[dict[str, Any]]:
    return [line for line in street.lines() if line["event"] in {"step_failed", "step_waits_for_database"}]


async def alter(database_url: str, statement: str) -> None:
    if database_url.startswith("sqlite"):
        connection = sqlite3.connect(database_url.removeprefix("sqlite:///"), isolation_level=None)
        connection.execute(statement)
        connection.close()
        return
    server = await asyncpg.connect(database_url)
    await server.execute(statement)
    await server.close()


async def subscribe(street: Street) -> str:
    made = await street.client.post(
        "/v1/endpoints", json={"url": f"{street.receiver_url}/events?key={URL_SECRET}"}
    )
    assert made.status_code == 201, made.text
    return str(made.json()["secret"])


async def good_and_bad_journeys(street: Street) -> list[str]:
    callback = {
        "webhook_url": f"{street.receiver_url}/mine?key={URL_SECRET}",
        "webhook_auth_header_name": "X-Mine",
        "webhook_auth_header_value": CALLBACK_SECRET,
    }
    good = await street.submit(**callback)
    await street.finished(good)
    street.receiver.answer = lambda _request: Response("no", status_code=500)
    await street.faults(refuse=[{"status": 500, "match": "POST /v1/transcriptions", "remaining": 1}])
    postponed = await street.submit(**callback)
    await street.finished(postponed)
    bad = await street.submit(client_reference_id="outcome=error:invalid_audio_file", **callback)
    await street.finished(bad)
    await street.faults(lose_answer=[{"remaining": 1, "how": "cut"}])
    lost = await street.submit(**callback)
    await street.finished(lost)
    await until(lambda: street.relay.logged().count("delivery_failed") >= 4)
    return [good, postponed, bad, lost]


async def misuse(street: Street, job: str, key: str) -> None:
    """Callers who put secrets where they do not belong, and receive errors."""
    derived = SecretBox([MASTER.encode()]).webhook_secret(job)
    post, path = street.client.post, f"/webhooks/soniox?job={job}"
    await post("/webhooks/soniox", headers={"X-Soniox-Webhook-Secret": MASTER + "x"}, json={})
    await post(path, headers={"X-Soniox-Webhook-Secret": MASTER}, json={})
    await post(path, headers={"X-Soniox-Webhook-Secret": derived}, content=b"not json " + MASTER.encode())
    await street.client.get("/v1/transcriptions", headers={"Authorization": f"Bearer {SONIOX_KEY}"})
    await street.client.get("/v1/transcriptions", headers={"Authorization": f"Basic {MASTER}"})
    await street.client.get("/v1/transcriptions/none", headers={"Authorization": f"Bearer {key}"})
    await post("/v1/endpoints", headers={"Authorization": f"Bearer {key}"}, json={"url": "https://example.com"})
    await post("/v1/transcriptions", json={"model": MODEL, "webhook_auth_header_value": CALLBACK_SECRET})
    await post("/v1/transcriptions", content=f'{{"model": "{CALLBACK_SECRET}'.encode())
    await street.client.get(f"/v1/transcriptions/{job}?wait={URL_SECRET}")


async def texts_of(database_url: str) -> str:
    """Every value of every table, as text."""
    if database_url.startswith("sqlite"):
        return await asyncio.to_thread(lambda: "\n".join(_sqlite_values(database_url.removeprefix("sqlite:///"))))
    connection = await asyncpg.connect(database_url)
    tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    values = [
        repr(tuple(row))
        for table in tables
        for row in await connection.fetch(f'SELECT * FROM "{table[0]}"')  # noqa: S608  # names of our own tables
    ]
    await connection.close()
    return "\n".join(values)


def _sqlite_values(path: str) -> Iterator[str]:
    connection = sqlite3.connect(path)
    names = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND sql IS NOT NULL"
    ).fetchall()
    for (name,) in names:
        yield from (repr(row) for row in connection.execute(f'SELECT * FROM "{name}"'))  # noqa: S608  # our own tables
    connection.close()
