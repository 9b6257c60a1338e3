"""The client of every outgoing call: what goes out is what was given, what came back is what was sent."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from service.cli.demo.servers import free_port
from service.http_client import (
    FAILURES,
    DisconnectedError,
    HttpResponse,
    NotHttpError,
    RequestLimits,
    ResponseTooLargeError,
    new_client,
    not_sent,
    send_request,
)
from tests.support.hostile import Behaviour, answer, drip, endless, hang, hostile_server, raw
from tests.support.relay_app import RelayApp
from tests.support.waiting import until

CAPS = RequestLimits(deadline_s=10, bytes=1000)
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

TARGETS = (
    *("/", "/?", "/a?", "/a?b", "/?a=1&a=2&", "/a/?=", "/a??b", "/a?b?c/d/../e"),
    *("/a%2Fb", "/a%2fb", "/%7Euser", "/%7euser", "/~user", "/%41%62", "/%2E%2e/x", "/%25", "/%", "/%zz", "/100%"),
    *("/a+b", "/a%20b", "/a;v=1;w", "/it's", "/it%27s", "/(a),*!$&=:@", "/a:b", "/:80"),
    *("//", "//a", "/a//b///", "/./a", "/../a", "/a/../b", "/a/..", "/a/.", "/.../a", "/a/./b//../c"),
    *("/?a+b", "/?a=%2B&b=%2b", "/?q='x'", "/?q=%27", "/?a;b", "/?a=b=c", "/?next=http://x/../y", "/?a=%23"),
    *("/%C3%A4%c3%bc", "/?n=%E6%97%A5%e6%9c%ac", "/%FF%00", "/?%"),
    *("/{id}", "/[a]", "/a|b", "/^`", '/"<>"', "/?{a}|[b]^`", '/?"<>"'),
)


@dataclass
class Recorder:
    """A server that writes down every request as it came, and says 200."""

    url: str
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end."""
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                body = await reader.readexactly(_length(head))
                self.requests.append(head + body)
                writer.write(EMPTY)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def targets(self) -> list[str]:
        """What stood between the method and the version."""
        return [request.partition(b"\r\n")[0].decode()[5:-9] for request in self.requests]


def _length(head: bytes) -> int:
    lines = head.lower().split(b"\r\n")
    return next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)


@asynccontextmanager
async def recorder() -> AsyncIterator[Recorder]:
    """A recorder on a free port."""
    kept = Recorder("")
    server = await asyncio.start_server(kept.serve, "127.0.0.1", 0)
    kept.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield kept
    finally:
        server.close()


async def ask(url: str, *, caps: RequestLimits = CAPS, headers: dict[str, str] | None = None) -> HttpResponse:
    """One POST by a client of its own."""
    client = new_client(headers={}, connections=2)
    try:
        return await send_request(client, "POST", url, caps, headers=headers, body=b"{}")
    finally:
        await client.aclose()


@pytest.mark.one_database
async def test_a_url_arrives_at_the_receiver_byte_for_byte_as_it_was_registered(relay_app: RelayApp) -> None:
    async with recorder() as receiver:
        for target in TARGETS:
            answer = await relay_app.client.post("/v1/endpoints", json={"url": receiver.url + target})
            assert answer.status_code == 201, (target, answer.text)
            ping = await relay_app.client.post(f"/v1/endpoints/{answer.json()['id']}/test")
            assert ping.json()["delivered"], (target, ping.text)
    assert receiver.targets() == list(TARGETS)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("", "/"),
        ("?a", "/?a"),
        ("/a#b?c", "/a"),
        ("/a?b#c", "/a?b"),
        ("/ä b", "/%C3%A4%20b"),
        ("/?ä=日", "/?%C3%A4=%E6%97%A5"),
    ],
)
async def test_only_what_cannot_stand_in_a_request_line_is_changed(given: str, sent: str) -> None:
    async with recorder() as server:
        await ask(server.url + given)
    assert server.targets() == [sent]


async def test_headers_go_out_in_the_case_they_have_and_before_the_clients_own() -> None:
    async with recorder() as server:
        await ask(server.url, headers={"X-MiXeD": "Value", "user-agent": "another"})
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert b"X-MiXeD: Value" in lines
    assert b"Accept-Encoding: identity" in lines
    assert [line for line in lines if line.lower().startswith(b"user-agent")] == [b"user-agent: another"]
    assert body == b"{}"


async def test_a_body_in_pieces_goes_out_with_its_known_length() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"piece"

    client = new_client(headers={}, connections=1)
    async with recorder() as server:
        await send_request(client, "POST", server.url, CAPS, headers={"Content-Length": "15"}, body=pieces())
        await client.aclose()
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert body == b"piecepiecepiece"
    assert b"transfer-encoding" not in head.lower()


async def test_a_request_without_a_body_says_nothing_of_one() -> None:
    client = new_client(headers={}, connections=1)
    async with recorder() as server:
        await send_request(client, "GET", server.url, CAPS)
        await client.aclose()
    assert b"content-" not in server.requests[0].lower()


async def test_an_answer_is_given_as_it_was_sent() -> None:
    packed = gzip.compress(b"x" * 5000)
    async with hostile_server({"packed": answer(418, "Content-Encoding: gzip", "X-A: b", body=packed)}) as url:
        got = await ask(f"{url}/packed")
    assert (got.status_code, got.content, got.headers.get("x-a"), got.is_success) == (418, packed, "b", False)


async def test_more_requests_than_connections_wait_for_one() -> None:
    client = new_client(headers={}, connections=3)
    async with recorder() as server:
        await asyncio.gather(*(send_request(client, "GET", server.url, CAPS) for _ in range(30)))
        await client.aclose()
    assert (len(server.requests), server.connections) == (30, 3)


HEARD: dict[str, tuple[Behaviour, type[Exception]]] = {
    "closes": (raw(), DisconnectedError),
    "not-http": (raw(b"?\r\n\r\n"), NotHttpError),
    "cut-head": (raw(b"HTTP/1.1 200"), DisconnectedError),
    "cut-body": (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"), FAILURES[0]),
    "drips": (drip, TimeoutError),
    "hangs": (hang, TimeoutError),
    "endless": (endless, ResponseTooLargeError),
}


@pytest.mark.parametrize("name", HEARD)
async def test_a_failure_after_the_request_was_sent_is_never_taken_for_one_before(name: str) -> None:
    behaviour, kind = HEARD[name]
    async with hostile_server({name: behaviour}) as url:
        with pytest.raises(kind) as failure:
            await ask(f"{url}/{name}", caps=RequestLimits(deadline_s=0.5, bytes=1000))
    assert isinstance(failure.value, FAILURES)
    assert not not_sent(failure.value)


UNREACHED: dict[str, Callable[[], str]] = {
    "a port where nobody listens": lambda: f"http://127.0.0.1:{free_port()}/",
    "a name that nobody has": lambda: "http://relay-tests.invalid/",
    "a port that there is not": lambda: "http://127.0.0.1:99999/",
    "another scheme": lambda: "ftp://127.0.0.1/",
    "no scheme": lambda: "127.0.0.1/x",
    "no host": lambda: "http:///x",
    "half an address": lambda: "http://[::1/",
}


@pytest.mark.parametrize("case", UNREACHED)
async def test_without_a_connection_nothing_was_sent(case: str) -> None:
    with pytest.raises(FAILURES) as failure:
        await ask(UNREACHED[case]())
    assert not_sent(failure.value)


async def test_an_address_that_is_not_let_pass_is_not_connected_to() -> None:
    def vet(host: str, address: str) -> None:
        raise PermissionError(host, address)

    client = new_client(headers={}, connections=1, vet=vet)
    async with recorder() as server:
        with pytest.raises(FAILURES) as failure:
            await send_request(client, "GET", server.url, CAPS)
        await client.aclose()
    assert not_sent(failure.value)
    assert server.connections == 0


async def test_the_deadline_counts_while_a_name_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, release = asyncio.get_running_loop(), asyncio.Event()

    def slow(*_question: object, **_named: object) -> object:
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result()
        raise socket.gaierror("too late")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    client = new_client(headers={}, connections=1, vet=lambda _host, _address: None)
    with pytest.raises(TimeoutError):
        await send_request(client, "GET", "http://silent.test/", RequestLimits(deadline_s=0.1, bytes=1000))
    release.set()
    await client.aclose()


async def test_a_connection_is_used_again() -> None:
    client = new_client(headers={}, connections=3)
    async with recorder() as server:
        for _ in range(3):
            await send_request(client, "GET", server.url, CAPS)
        await client.aclose()
        await until(lambda: len(server.requests) == 3)
    assert server.connections == 1
