"""Every outgoing HTTP client is made here, so that a change of client is one edit.

httpx's requests and answers over aiohttp's connections: httpx's own pool collapses with concurrency
(docs/decisions). A request is bounded as a whole, in seconds and bytes; httpx's own timeout is for each read and
lets a slow sender hold us for ever. Redirects are not followed, proxies of the environment are not used, nothing
is decompressed, cookies are not kept.

Names are resolved in threads of the client's own: the event loop's few would all be taken by one receiver whose
name server is silent.
"""

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport
from typing_extensions import override


@dataclass(frozen=True)
class Caps:
    """Bounds of one exchange, connecting and body included."""

    deadline_s: float
    bytes: int


USER_AGENT = "soniox-relay"
Vet = Callable[[str, str], None]  # (host, address): raises OSError for an address not to be connected to


Disconnected = aiohttp.ServerDisconnectedError  # closed without an answer
NotHttp = aiohttp.ClientResponseError  # something else than HTTP


class TooLong(ValueError):
    """The answer has more bytes than its cap."""


class OwnResolver(aiohttp.abc.AbstractResolver):
    """The system's resolver, in as many threads as there may be connections."""

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="resolver")

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[aiohttp.abc.ResolveResult]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, _look_up, host, port, family)
        return [
            aiohttp.abc.ResolveResult(
                hostname=host, host=str(address[0]), port=port, family=kind, proto=proto, flags=NUMERIC
            )
            for kind, _, proto, _, address in found
        ]

    @override
    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


def _look_up(host: str, port: int, family: socket.AddressFamily) -> list[Any]:
    return list(socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG))


class VettingConnector(aiohttp.TCPConnector):
    """Asks about every address between resolving and connecting; literal addresses pass here too."""

    def __init__(self, vet: Vet, connections: int) -> None:
        self._own_resolver = OwnResolver(connections)
        super().__init__(limit=connections, use_dns_cache=False, resolver=self._own_resolver)
        self._vet = vet

    @override
    async def _resolve_host(
        self, host: str, port: int, traces: Sequence[aiohttp.tracing.Trace] | None = None
    ) -> list[aiohttp.abc.ResolveResult]:
        found = await super()._resolve_host(host, port, traces)
        for answer in found:
            self._vet(host, answer["host"])
        return found

    @override
    async def close(self, *, abort_ssl: bool = False) -> None:
        await super().close(abort_ssl=abort_ssl)
        await self._own_resolver.close()


class Client:
    """A pool of connections and the headers that each request has.

    It stands on httpx's transport, not on its client: what that adds to each exchange (cookies, redirects, auth,
    hooks) is not wanted here, and took longer than the exchange itself.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport, headers: dict[str, str]) -> None:
        self._transport = transport
        common = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": USER_AGENT}
        self._headers = httpx.Headers({**common, **headers})

    def build_request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, **content: Any
    ) -> httpx.Request:
        """A request with these headers in front of the client's; `content`, `json`, `params` as httpx has them."""
        merged = self._headers.copy()
        merged.update(headers)
        return httpx.Request(method, url, headers=merged, **content)

    async def send(self, request: httpx.Request) -> httpx.Response:
        """The answer as soon as its head is there; whoever asked must close it."""
        return await self._transport.handle_async_request(request)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()


def new_client(*, headers: dict[str, str], connections: int, vet: Vet | None = None) -> Client:
    """A client with at most so many connections, each to an address that `vet` let pass."""

    def session() -> aiohttp.ClientSession:
        connector = VettingConnector(vet, connections) if vet else aiohttp.TCPConnector(limit=connections)
        return aiohttp.ClientSession(
            connector=connector, auto_decompress=False, trust_env=False, cookie_jar=aiohttp.DummyCookieJar()
        )

    return Client(AiohttpTransport(client=session), headers)


class Answer(NamedTuple):
    """What came back, read to its end and as it was sent, compressed or not."""

    status_code: int
    headers: httpx.Headers
    content: bytes

    @property
    def is_success(self) -> bool:
        return 200 <= self.status_code < 300


async def read_capped(client: Client, request: httpx.Request, caps: Caps) -> Answer:
    """Send and read at most `caps.bytes` of the answer.

    Raises httpx.HTTPError, OSError, TimeoutError past the deadline, TooLong past the byte cap.
    """
    async with asyncio.timeout(caps.deadline_s):
        answer = await client.send(request)
        try:
            content = await _read(answer, caps.bytes)
        finally:
            await answer.aclose()
    return Answer(answer.status_code, answer.headers, content)


def nothing_was_sent(error: BaseException) -> bool:
    """True only when no connection came about. httpx's own ConnectError does not tell: a reset of an open
    connection carries the same name here, after the request may have been read.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, aiohttp.ClientConnectorError | httpx.UnsupportedProtocol):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


async def _read(answer: httpx.Response, most: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in answer.aiter_raw():
        size += len(part)
        if size > most:
            raise TooLong(f"the answer is longer than {most} bytes")
        parts.append(part)
    return b"".join(parts)


def retry_after_s(value: str | None, now: datetime, longest_s: float) -> float | None:
    """Seconds for either form of a Retry-After header, at most `longest_s`; None for absent or garbage."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), longest_s)
    try:
        until = parsedate_to_datetime(text)
        until = until if until.tzinfo else until.replace(tzinfo=UTC)
        return min(max((until - now).total_seconds(), 0.0), longest_s)
    except (ValueError, OverflowError):
        return None
