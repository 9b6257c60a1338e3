"""The served relay and those who take their time: slow heads, endless heads, slow bodies, too many connections."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest
from typing_extensions import override

from service import server as service_server
from service.api import middleware
from service.app import create_app
from service.cli.demo.servers import free_port
from service.crypto import SecretBox
from service.server import TimeoutHttpProtocol
from tests.support.relay_app import ADMIN_KEY, MASTER_SECRET, settings_for
from tests.support.servers import serving
from tests.support.waiting import stays, until

JOB = "0197a1b2-0000-7000-8000-000000000001"
NOTICE = json.dumps({"id": "84c32fc6-4fb5-4e7a-b656-b5ec70493753", "status": "completed"})


@pytest.fixture
async def port(sqlite_template: Path, tmp_path: Path) -> AsyncIterator[int]:
    """A relay behind the connections that `serve` gives it."""
    shutil.copy(sqlite_template, tmp_path / "relay.db")
    settings = settings_for(f"sqlite:///{tmp_path / 'relay.db'}", "http://127.0.0.1:1", free_port())
    app = create_app(settings, with_worker=False)
    async with serving(app, settings.port, http=TimeoutHttpProtocol):
        yield settings.port


@asynccontextmanager
async def connected(
    port: int, sent: bytes = b""
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    await writer.drain()
    try:
        yield reader, writer
    finally:
        writer.close()


async def honest(port: int) -> int:
    """A webhook as Soniox sends it."""
    headers = {"X-Soniox-Webhook-Secret": SecretBox([MASTER_SECRET.encode()]).webhook_secret(JOB)}
    async with httpx.AsyncClient() as client:
        url = f"http://127.0.0.1:{port}/webhooks/soniox?job={JOB}"
        return (await client.post(url, content=NOTICE, headers=headers)).status_code


async def drip(writer: asyncio.StreamWriter, piece: bytes) -> None:
    """A piece now and then, until nobody takes it."""

    def is_over() -> bool:
        writer.write(piece)
        return writer.is_closing()

    await until(is_over)


async def rest_of(reader: asyncio.StreamReader) -> bytes:
    """What comes before the end; a connection that is closed while we still write ends in a reset."""
    try:
        return await asyncio.wait_for(reader.read(), 30)
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize("beginning", [b"", b"POST /webhooks/soniox HTTP/1.1\r\nX-Slow: "])
async def test_who_does_not_finish_the_head_of_a_request_is_cut_off(
    port: int, monkeypatch: pytest.MonkeyPatch, beginning: bytes
) -> None:
    monkeypatch.setattr(service_server, "HEAD_TIMEOUT_S", 0.3)
    async with connected(port, beginning) as (reader, writer):
        dripping = asyncio.create_task(drip(writer, b"x" if beginning else b""))
        assert await rest_of(reader) == b""
        dripping.cancel()


async def test_a_connection_may_rest_between_requests_but_not_for_long(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_server, "HEAD_TIMEOUT_S", 1.0)
    async with connected(port) as (reader, writer):
        for _ in range(3):
            writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await asyncio.wait_for(reader.readuntil(b"}"), 30)).startswith(b"HTTP/1.1 200")
            await stays(lambda: not reader.at_eof(), 0.4)
        rested_since_s = asyncio.get_running_loop().time()
        assert await asyncio.wait_for(reader.read(), 30) == b""
        assert asyncio.get_running_loop().time() - rested_since_s < 5


async def test_who_is_refused_cannot_stay_by_dripping_the_rest_of_the_body(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_server, "HEAD_TIMEOUT_S", 0.3)
    head = b"POST /webhooks/soniox HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    async with connected(port, head) as (reader, writer):
        dripping = asyncio.create_task(drip(writer, b"x"))
        assert (await asyncio.wait_for(reader.readline(), 30)).startswith(b"HTTP/1.1 401")
        with suppress(ConnectionError):  # the relay closes while we still send
            await asyncio.wait_for(reader.read(), 30)
        dripping.cancel()


@pytest.mark.parametrize("endless", [b"x" * 4096, b"\r\nX-More: and more"])
async def test_an_endless_head_is_refused_before_it_takes_memory(port: int, endless: bytes) -> None:
    async with connected(port, b"GET /livez HTTP/1.1\r\nX-Long: ") as (reader, writer):
        sent = 0
        with suppress(ConnectionError):
            while sent < 4 << 20:
                writer.write(endless)
                await writer.drain()
                sent += len(endless)
                await asyncio.sleep(0)
        assert sent < 2 << 20
        answer = b""
        with suppress(ConnectionError):  # it was refused in the middle of what we still sent
            answer = await asyncio.wait_for(reader.read(), 30)
        assert answer[:12] in {b"HTTP/1.1 400", b""}


async def test_a_keyless_caller_cannot_make_the_relay_read_a_large_or_slow_body(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for within_s, length, sent, refusal in (
        (10, 200 << 20, b"x" * (300 * 1024), b"HTTP/1.1 413"),
        (0.3, 1000, b'{"url":', b"HTTP/1.1 408"),
    ):
        monkeypatch.setattr(middleware, "BODY", middleware.BODY._replace(within_s=within_s))
        head = f"POST /v1/endpoints HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode()
        async with connected(port, head + sent) as (reader, _):
            assert (await asyncio.wait_for(reader.readline(), 30)).startswith(refusal)


async def test_an_upload_that_stalls_is_given_up_and_leaves_nothing(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middleware, "UPLOAD_STALLS_AFTER_S", 0.3)
    head = (
        f"POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN_KEY}\r\nContent-Length: 5000\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc'
    )
    async with connected(port, head.encode()) as (reader, _):
        assert (await asyncio.wait_for(reader.readline(), 30)).startswith(b"HTTP/1.1 408")


async def test_over_the_cap_whoever_waited_longest_makes_room_and_no_webhook_is_refused(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TimeoutHttpProtocol, "most", 20)
    idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(60)]
    assert [await honest(port) for _ in range(5)] == [200] * 5
    closed = [await asyncio.wait_for(reader.read(), 30) for reader, _ in idle[:40]]
    assert closed == [b""] * 40
    still = [reader for reader, _ in idle[50:] if not reader.at_eof()]
    assert still
    for _, writer in idle:
        writer.close()


async def test_an_answer_that_nobody_reads_is_given_up(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_server, "READ_TIMEOUT_S", 0.3)
    lost = asyncio.Event()

    class Watched(TimeoutHttpProtocol):
        @override
        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            lost.set()

    async def flood(_scope: object, _receive: object, send: object) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})  # type: ignore[operator]
        for _ in range(10_000):
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})  # type: ignore[operator]

    async with (
        serving(flood, http=Watched, lifespan="off") as server,
        connected(server.port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    ):
        await asyncio.wait_for(lost.wait(), 20)


async def test_a_request_that_others_follow_hears_too_that_its_caller_is_gone() -> None:
    """Otherwise it would wait for ever, or write to nobody, which ends as an error in the log."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def wait_for_the_end(_scope: object, receive: object, _send: object) -> None:
        begun.set()
        while (await receive())["type"] != "http.disconnect":  # type: ignore[operator]
            pass
        ended.set()

    async with serving(wait_for_the_end, http=TimeoutHttpProtocol, lifespan="off") as server:
        async with connected(server.port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 3):
            await asyncio.wait_for(begun.wait(), 30)
        await asyncio.wait_for(ended.wait(), 30)


async def test_a_connection_serves_many_requests_and_a_pipeline_of_them(port: int) -> None:
    request = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    async with connected(port, request * 3 + last) as (reader, _):
        assert (await asyncio.wait_for(reader.read(), 30)).count(b"HTTP/1.1 200") == 4
    assert not TimeoutHttpProtocol.sending
