"""Whatever bytes come in, nothing is uncaught and nothing is answered 5xx.

`FUZZ_EXAMPLES` sets the number of examples of each test for a longer search (`make fuzz`), which is then a
different one each time and prints its counts.
"""

import asyncio
import base64
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from service.api.pagination import decode_cursor, encode_cursor
from service.api.requests import parse_submission
from service.api.uploads import FormParser
from service.app import create_app
from service.cli.verify import SignedRequest, verify_steps
from service.crypto import SecretBox, new_endpoint_secret
from service.downstream.messages import header_mistakes
from service.downstream.ssrf import AddressGuard, AddressRefusedError, literal_address
from service.errors import CallerError, InvalidCursorError
from service.http_client import retry_after_s
from service.ids import new_id, new_uuid
from tests.support.postgres import execute, run_on
from tests.support.relay_app import ADMIN_KEY, MASTER_SECRET, settings_for

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
VAULT = SecretBox([MASTER_SECRET.encode()])
JOB = "0197a1b2-0000-7000-8000-000000000001"
NOW = datetime(2026, 8, 1, tzinfo=UTC)
JSON = (b"content-type", b"application/json")
tried: Counter[str] = Counter()

fuzz = settings(
    max_examples=EXAMPLES or 150,
    deadline=None,
    derandomize=not EXAMPLES,
    database=None,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
fuzz_app = settings(fuzz, max_examples=EXAMPLES or 60)

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


def words(*known: str) -> st.SearchStrategy[str]:
    """Known words, whole and spoilt, and any other text."""
    some = st.sampled_from(known)
    return some | st.text(max_size=40) | st.tuples(some, st.text(max_size=5), some).map("".join)


@pytest.fixture(scope="module", autouse=True)
def counted(pytestconfig: pytest.Config) -> Iterator[None]:
    """Print what was tried when the search was a long one."""
    yield
    reporter = pytestconfig.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not EXAMPLES:
        return
    for name, number in sorted(tried.items()):
        reporter.write_line(f"{name}: {number:,} tried, 0 uncaught, 0 answered 5xx")


# Pure parsers


@fuzz
@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_any_cursor_is_read_or_refused(cursor: str) -> None:
    tried["cursors"] += 1
    with suppress(InvalidCursorError):
        decode_cursor(cursor)


@fuzz
@given(st.integers(0, 2**62), st.booleans())
def test_a_cursor_comes_back_as_it_was(moment: int, is_uuid: bool) -> None:
    row = new_uuid(moment % 2**47) if is_uuid else new_id("evt", moment % 2**47)
    assert decode_cursor(encode_cursor(moment, row)) == (moment, row)


@fuzz
@given(
    words("Sat, 01 Aug 2026 00:00:00 GMT", "120", "-1", "0x10", "1e9", "Sun, 31 Feb 2026 25:61:61 +9999", "\u0661")
)
def test_any_retry_after_is_a_bounded_wait_or_none(value: str) -> None:
    tried["Retry-After values"] += 1
    wait_s = retry_after_s(value, NOW, 3600)
    assert wait_s is None or 0 <= wait_s <= 3600


@fuzz
@given(
    st.dictionaries(words("X-Fine", "Host", "webhook-id", "Transfer-Encoding"), st.text(max_size=30), max_size=5)
)
def test_headers_that_are_let_through_cannot_end_a_line(headers: dict[str, str]) -> None:
    tried["headers"] += 1
    if not header_mistakes(headers):
        for name, value in headers.items():
            assert f"{name}: {value}".isascii()
            assert f"{name}: {value}".isprintable()
            assert not set(name) & set(" :\r\n")


@fuzz
@given(
    words("http://", "https://", "127.0.0.1", "[::1]", "0x7f.1", "@", "example.com", ":80", "/", "\\", "#", "%00")
)
def test_any_url_is_judged_or_refused(url: str) -> None:
    tried["URLs"] += 1
    literal_address(url)
    for field in ("webhook_url", "audio_url"):
        body = {"model": "stt-async-v5", "audio_url": "https://example.com/a", field: url}
        try:
            submission = parse_submission(json.dumps(body).encode(), brings_file=False)
        except CallerError:
            continue
        if submission.webhook_url:
            with suppress(AddressRefusedError):
                AddressGuard(()).vet_url(submission.webhook_url)


@fuzz
@given(st.lists(st.binary(max_size=60), max_size=8), st.binary(max_size=20))
def test_any_multipart_body_is_cut_into_parts_or_refused(pieces: list[bytes], noise: bytes) -> None:
    tried["multipart bodies"] += 1
    opening = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"' + noise + b"\r\n\r\n"
    with suppress(CallerError):
        parts = FormParser("multipart/form-data; boundary=b")
        for piece in [opening, *pieces, b"\r\n--b--\r\n"]:
            parts.feed(piece)
        parts.end()


@fuzz
@given(words("multipart/form-data", "; boundary=", '"', "b", "=?utf-8?q?=00?=", "text/plain", ";"))
def test_any_content_type_of_a_form_is_read_or_refused(kind: str) -> None:
    tried["content types"] += 1
    with suppress(CallerError):
        FormParser(kind.encode("utf-8", "replace").decode("latin-1"))


@fuzz
@given(
    words("v1,", "v1a,", " ", "=", "AAAA", "v1,not-base64!", "v1,\u00e9"),
    words("1754006400", "-1", "\u0661", "1e5"),
)
def test_any_signature_is_a_verdict_and_never_a_pass(signature: str, timestamp: str) -> None:
    tried["signatures"] += 1
    steps = verify_steps(SignedRequest("evt_1", timestamp, signature, b"{}"), new_endpoint_secret(), 300)
    assert any(step.problem for step in steps)


@fuzz
@given(st.binary(max_size=100), st.text(max_size=50))
def test_any_webhook_header_is_a_verdict_and_never_a_pass(given_header: bytes, job: str) -> None:
    tried["webhook headers"] += 1
    assert VAULT.knows_webhook_secret(given_header, job) is (not job and given_header == MASTER_SECRET.encode())


# The whole application, called below HTTP so that any byte gets in


class Door:
    """A running application without a socket."""

    def __init__(self, runner: asyncio.Runner, app: FastAPI, state: dict[str, Any]) -> None:
        self._runner, self._app, self._state = runner, app, state

    def ask(
        self, method: str, path: str, query: bytes, headers: list[tuple[bytes, bytes]], body: bytes = b""
    ) -> int:
        """One request; its answer must be complete, and the relay's own fault never."""
        status = self._runner.run(self._ask(method, path, query, headers, body))
        assert 200 <= status < 500, (method, path, query, headers, body)
        return status

    async def _ask(
        self, method: str, path: str, query: bytes, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> int:
        scope: dict[str, Any] = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query,
        }
        scope |= {"headers": headers, "http_version": "1.1", "scheme": "http", "root_path": ""}
        scope |= {"asgi": {"version": "3.0"}, "client": ("127.0.0.1", 1), "server": ("relay", 80)}
        scope["state"] = dict(self._state)
        to_send = [{"type": "http.request", "body": body}, {"type": "http.disconnect"}]
        sent: list[Any] = []

        async def receive() -> Any:
            return to_send.pop(0) if len(to_send) > 1 else to_send[0]

        async def send(message: Any) -> None:
            sent.append(message)

        await self._app(scope, receive, send)
        assert sent[0]["type"] == "http.response.start"
        return int(sent[0]["status"])


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def door(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """One application for all examples."""
    with asyncio.Runner() as runner:
        url = _database(request, runner, tmp_path_factory)
        unlimited = settings_for(url, "http://127.0.0.1:1", 8000, relay_anonymous_requests_per_minute=0)
        app = create_app(unlimited, with_worker=False)
        lifespan = app.router.lifespan_context(app)
        state = runner.run(lifespan.__aenter__())
        yield Door(runner, app, dict(state or {}))
        runner.run(lifespan.__aexit__(None, None, None))


def _database(
    request: pytest.FixtureRequest, runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory
) -> str:
    if request.param == "sqlite":
        path = tmp_path_factory.mktemp("fuzz") / "relay.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        return f"sqlite:///{path}"
    server, name = request.getfixturevalue("postgres_url"), f"relay_fuzz_{os.getpid()}"
    runner.run(execute(server, f"CREATE DATABASE {name} TEMPLATE relay_template_{os.getpid()}"))
    request.addfinalizer(lambda: run_on(server, f"DROP DATABASE {name} WITH (FORCE)"))
    return f"{server}/{name}"


NOTICES = st.fixed_dictionaries(
    {"id": words("84c32fc6-4fb5-4e7a-b656-b5ec70493753", "../x"), "status": words("completed", "error", "\0")}
)
BODIES = (
    st.binary(max_size=60)
    | (NOTICES | JSON_VALUES).map(lambda value: json.dumps(value).encode())
    | st.integers(0, 20_000).map(lambda size: b" " * size)
)
QUERIES = st.binary(max_size=60) | st.builds(
    lambda name, value: f"{name}={value}".encode("utf-8", "replace"),
    words("job", "limit", "cursor", "order", "created_after", "status", "stage", "types", "after", "q", "from_ms"),
    words(
        "1", "-1", "9" * 30, "1e9", "NaN", "2026-08-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "%00", "completed"
    ),
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            [b"content-type", b"x-request-id", b"idempotency-key", b"if-none-match", b"last-event-id", b"x-odd"]
        ),
        st.binary(max_size=40),
    ),
    max_size=4,
)
KEY = (b"authorization", f"Bearer {ADMIN_KEY}".encode())


def test_any_webhook_is_stored_or_refused(door: Door) -> None:
    @fuzz_app
    @given(QUERIES, HEADERS, BODIES, st.sampled_from(["job", "master", "none", "noise"]))
    def one(query: bytes, headers: list[tuple[bytes, bytes]], body: bytes, knows: str) -> None:
        tried["webhooks"] += 1
        secrets = {
            "job": VAULT.webhook_secret(JOB).encode(),
            "master": MASTER_SECRET.encode(),
            "noise": b"\xff" + body[:40],
        }
        query = f"job={JOB}".encode() if knows == "job" else b"" if knows == "master" else query
        sent = [*headers, (b"x-soniox-webhook-secret", secrets[knows])] if knows in secrets else headers
        status = door.ask("POST", "/webhooks/soniox", query, sent, body)
        assert status in ({200, 400, 413} if knows in {"job", "master"} else {401})

    one()


LISTS = (
    "/v1/transcriptions",
    "/v1/files",
    "/v1/endpoints",
    "/v1/events",
    "/v1/deliveries",
    "/v1/search",
    "/v1/keys",
)


def test_any_question_of_a_caller_is_answered_or_refused(door: Door) -> None:
    ids = words("0197a1b2-0000-7000-8000-000000000001", "ep_0197a1b200007000800000000000000f", "count", "\x00")

    @fuzz_app
    @example("/v1/keys", "count", b"\xd8", [])  # no UTF-8, and a method that the path does not know
    @given(st.sampled_from(LISTS), ids | st.none(), st.lists(QUERIES, max_size=3).map(b"&".join), HEADERS)
    def one(path: str, thing: str | None, query: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        tried["questions"] += 1
        door.ask("GET", path if thing is None else f"{path}/{thing}", query, [KEY, *headers])

    one()


FIELDS = words(
    "model", "audio_url", "file_id", "webhook_url", "metadata", "context", "url", "name", "scopes", "headers"
)


def test_any_body_of_a_caller_is_taken_or_refused(door: Door) -> None:
    values = JSON_VALUES | words("stt-async-v5", "https://example.com/a.wav", "http://[::1", "submit", "\ud800")
    documents = st.dictionaries(FIELDS, values, max_size=5)
    sendable = {"model": "stt-async-v5", "audio_url": "https://example.com/a"}

    @fuzz_app
    @given(
        st.sampled_from(["/v1/transcriptions", "/v1/endpoints", "/v1/keys"]),
        documents | documents.map(lambda some: {**sendable, **some}) | JSON_VALUES,
        HEADERS,
        st.booleans(),
    )
    def one(path: str, document: Any, headers: list[tuple[bytes, bytes]], is_json: bool) -> None:
        tried["bodies"] += 1
        body = json.dumps(document).encode()
        door.ask("POST", path, b"", [KEY, *([JSON] if is_json else []), *headers], body)

    one()


def test_any_form_of_a_caller_is_taken_or_refused(door: Door) -> None:
    names = words("file", "request", "client_reference_id", '"', "\r\n")

    @fuzz_app
    @given(
        st.sampled_from(["/v1/files", "/v1/transcriptions"]),
        st.lists(st.tuples(names, st.none() | st.text(max_size=10), st.binary(max_size=50)), max_size=4),
        st.sampled_from([b"--b--\r\n", b"--b--", b"--b\r\n", b""]),
        st.booleans(),
    )
    def one(path: str, parts: list[tuple[str, str | None, bytes]], ending: bytes, names_boundary: bool) -> None:
        tried["forms"] += 1
        kind = b"multipart/form-data; boundary=b" if names_boundary else b"multipart/form-data"
        body = b"".join(_part(*part) for part in parts) + ending
        length = (b"content-length", str(len(body)).encode())
        door.ask("POST", path, b"", [KEY, (b"content-type", kind), length], body)

    one()


def _part(name: str, filename: str | None, content: bytes) -> bytes:
    told = "" if filename is None else f'; filename="{filename}"'
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"{told}\r\n\r\n'
    return head.encode("utf-8", "replace") + content + b"\r\n"
