"""Outgoing HTTP: httpx on aiohttp connections, with limits, address checks and parsing of `Retry-After`."""

import asyncio
import functools
import re
import socket
import ssl
from collections.abc import AsyncIterable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple, cast
from urllib.parse import quote

import aiohttp
import httpx
import yarl
from httpx_aiohttp import AiohttpTransport
from httpx_aiohttp.transport import AiohttpResponseStream
from typing_extensions import override


def retry_after_s(value: str | None, now: datetime, longest_s: float) -> float | None:
    """Parse a Retry-After header of either form to seconds, at most `longest_s`. None if absent or invalid."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), longest_s)
    try:
        until = parsedate_to_datetime(text)
        until = until if until.tzinfo else until.replace(tzinfo=UTC)
        return min(max((until - now).total_seconds(), 0.0), longest_s)
    except (ValueError, OverflowError):
        return None


@dataclass(frozen=True)
class RequestLimits:
    """Limits of one request, including connecting and reading the body of the response."""

    deadline_s: float
    bytes: int


USER_AGENT = "soniox-relay"
AddressCheck = Callable[[str, str], None]  # (host, address): raises OSError for a refused address
# All that `send_request` raises. TimeoutError is an OSError.
FAILURES = (
    httpx.HTTPError,
    httpx.InvalidURL,
    OSError,
    ValueError,
)
NEVER_SENT = (httpx.ConnectError, httpx.UnsupportedProtocol, httpx.InvalidURL)


class ResponseTooLargeError(ValueError):
    """The response has more bytes than its limit."""


class DisconnectedError(httpx.RemoteProtocolError):
    """The server closed the connection without a response."""


class NotHttpError(httpx.RemoteProtocolError):
    """The response is not valid HTTP."""


class HttpResponse(NamedTuple):
    """A complete response. `content` is the body as sent: it is not decompressed."""

    status_code: int
    headers: Mapping[str, str]  # case-insensitive
    content: bytes

    @property
    def is_success(self) -> bool:
        return 200 <= self.status_code < 300


async def send_request(
    client: httpx.AsyncClient,
    method: str,
    url: str,
    caps: RequestLimits,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | AsyncIterable[bytes] | None = None,
) -> HttpResponse:
    """Send a request and read at most `caps.bytes` of the response. `headers` override the client's own.

    Raises one of FAILURES: TimeoutError after the deadline, ResponseTooLargeError above the limit.
    """
    request = client.stream(method, url, headers=headers, content=body, extensions={"target": _target(url)})
    async with asyncio.timeout(caps.deadline_s), request as answer:
        return HttpResponse(answer.status_code, answer.headers, await _read(answer, caps.bytes))


def not_sent(error: Exception) -> bool:
    """Return whether the request was certainly not sent: no connection was made, or the URL is invalid."""
    return isinstance(error, NEVER_SENT)


def new_client(*, headers: dict[str, str], connections: int, vet: AddressCheck | None = None) -> httpx.AsyncClient:
    """Create a client with at most `connections` connections, each to an address that `vet` accepts.

    Needs a running event loop.
    """
    connector = CheckedConnector(vet, connections) if vet else aiohttp.TCPConnector(limit=connections, ssl=_tls())
    session = aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(),  # none: RequestLimits bound the whole request
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
    )
    return httpx.AsyncClient(
        transport=Transport(session),
        headers=httpx.Headers({"Accept-Encoding": "identity", "User-Agent": USER_AGENT, **headers}, "utf-8"),
        timeout=None,  # noqa: S113  # as above
        trust_env=False,
    )


class Transport(AiohttpTransport):
    """Sends on aiohttp's connections the exact target that `send_request` sets, and raises httpx's errors."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        super().__init__(verify=_tls(), client=session)
        self._session = session

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        given = [(name, value) for name, value in request.headers.raw if name.lower() != b"transfer-encoding"]
        with httpx_errors():
            answer = await self._session.request(
                request.method,
                _url_of(request),
                headers=[(name.decode(), value.decode()) for name, value in given],
                data=_body_of(request),
                allow_redirects=False,
            )
        headers = [(name, value) for name, value in answer.raw_headers if name.lower() not in UNUSED_EVENTS]
        return httpx.Response(answer.status, headers=headers, stream=AiohttpResponseStream(answer))


UNUSED_EVENTS = frozenset({b"location", b"set-cookie"})  # httpx would interpret them


@contextmanager
def httpx_errors() -> Iterator[None]:
    """Translate aiohttp's errors to httpx's. The original error is the cause."""
    try:
        yield
    except aiohttp.ClientError as error:
        kind = next(ours for theirs, ours in KINDS if isinstance(error, theirs))
        raise kind(str(error)) from error


KINDS: tuple[tuple[type[Exception], type[httpx.TransportError]], ...] = (
    (aiohttp.ClientConnectorError, httpx.ConnectError),
    (aiohttp.InvalidURL, httpx.UnsupportedProtocol),
    (aiohttp.NonHttpUrlClientError, httpx.UnsupportedProtocol),
    (aiohttp.ServerDisconnectedError, DisconnectedError),
    (aiohttp.ClientResponseError, NotHttpError),
    (aiohttp.ClientError, httpx.ReadError),
)


class CheckedConnector(aiohttp.TCPConnector):
    """Checks every address after resolving and before connecting, literal addresses included."""

    def __init__(self, vet: AddressCheck, connections: int) -> None:
        self._own_resolver = ThreadedResolver(connections)
        super().__init__(limit=connections, use_dns_cache=False, resolver=self._own_resolver, ssl=_tls())
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


class ThreadedResolver(aiohttp.abc.AbstractResolver):
    """The system's resolver, with one thread for each possible connection."""

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="resolver")

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[aiohttp.abc.ResolveResult]:
        ask = functools.partial(
            socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
        found = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
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
BEFORE_TARGET = re.compile(r"[a-z0-9+.-]+://[^/?#]*", re.IGNORECASE)
IN_A_TARGET = "".join(map(chr, range(0x21, 0x7F)))


@functools.cache
def _tls() -> ssl.SSLContext:
    """Load the system's trusted certificates. Cached: loading takes about 30 ms."""
    return ssl.create_default_context()


def _target(url: str) -> bytes:
    """Return path and query unchanged; only characters that a request line cannot contain are quoted."""
    given = BEFORE_TARGET.sub("", url, count=1).partition("#")[0]
    return quote(given if given.startswith("/") else f"/{given}", safe=IN_A_TARGET).encode()


def _url_of(request: httpx.Request) -> yarl.URL:
    """Return a URL with httpx's host and port, and a target that aiohttp does not normalise."""
    url = request.url
    if not 0 <= (url.port or 0) < 2**16:
        raise httpx.InvalidURL("there is no such port")
    target = request.extensions.get("target", url.raw_path)
    return yarl.URL.build(scheme=url.scheme, authority=url.netloc.decode(), path=target.decode(), encoded=True)


def _body_of(request: httpx.Request) -> bytes | httpx.AsyncByteStream | None:
    if isinstance(request.stream, httpx.ByteStream):
        return request.content or None
    return cast("httpx.AsyncByteStream", request.stream)


async def _read(answer: httpx.Response, most: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in answer.aiter_raw():
        size += len(part)
        if size > most:
            raise ResponseTooLargeError(f"the answer is longer than {most} bytes")
        parts.append(part)
    return b"".join(parts)
