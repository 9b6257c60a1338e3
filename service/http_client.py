"""The Retry-After header. Pure."""

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


@dataclass(frozen=True)
class RequestLimits:
    """Bounds of one exchange, connecting and body included."""

    deadline_s: float
    bytes: int


USER_AGENT = "soniox-relay"
AddressCheck = Callable[[str, str], None]  # (host, address): raises OSError for an address not to be connected to
FAILURES = (
    httpx.HTTPError,
    httpx.InvalidURL,
    OSError,
    ValueError,
)  # all of an exchange; TimeoutError is an OSError
NEVER_SENT = (httpx.ConnectError, httpx.UnsupportedProtocol, httpx.InvalidURL)


class ResponseTooLargeError(ValueError):
    """The answer has more bytes than its cap."""


class DisconnectedError(httpx.RemoteProtocolError):
    """The connection was closed without an answer."""


class NotHttpError(httpx.RemoteProtocolError):
    """Something else than HTTP came back."""


class HttpResponse(NamedTuple):
    """What came back, read to its end and as it was sent, compressed or not."""

    status_code: int
    headers: Mapping[str, str]  # whatever the case of the names
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
    """Send and read at most `caps.bytes` of the answer; `headers` go before the client's own.

    Raises one of FAILURES: TimeoutError past the deadline, TooLong past the byte cap.
    """
    request = client.stream(method, url, headers=headers, content=body, extensions={"target": _target(url)})
    async with asyncio.timeout(caps.deadline_s), request as answer:
        return HttpResponse(answer.status_code, answer.headers, await _read(answer, caps.bytes))


def not_sent(error: Exception) -> bool:
    """True only when no connection came about, or there was no URL to connect to."""
    return isinstance(error, NEVER_SENT)


def new_client(*, headers: dict[str, str], connections: int, vet: AddressCheck | None = None) -> httpx.AsyncClient:
    """A client with at most so many connections, each to an address that `vet` let pass. Needs a running loop."""
    connector = CheckedConnector(vet, connections) if vet else aiohttp.TCPConnector(limit=connections, ssl=_tls())
    session = aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(),  # none: `Caps` bound the whole
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
    )
    return httpx.AsyncClient(
        transport=Transport(session),
        headers=httpx.Headers({"Accept-Encoding": "identity", "User-Agent": USER_AGENT, **headers}, "utf-8"),
        timeout=None,  # noqa: S113  # the same
        trust_env=False,
    )


class Transport(AiohttpTransport):
    """aiohttp's connections, asked for exactly the target that `exchange` names, with httpx's errors."""

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


UNUSED_EVENTS = frozenset({b"location", b"set-cookie"})  # httpx would read them, whoever wrote them


@contextmanager
def httpx_errors() -> Iterator[None]:
    """Raise httpx's error for one of aiohttp's, which stays its cause."""
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
    """Asks about every address between resolving and connecting; literal addresses pass here too."""

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
    """The system's resolver, in as many threads as there may be connections."""

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
    """What the system trusts; reading it takes some 30 ms."""
    return ssl.create_default_context()


def _target(url: str) -> bytes:
    """Path and query, character by character; only what cannot stand in a request line is quoted."""
    given = BEFORE_TARGET.sub("", url, count=1).partition("#")[0]
    return quote(given if given.startswith("/") else f"/{given}", safe=IN_A_TARGET).encode()


def _url_of(request: httpx.Request) -> yarl.URL:
    """Host and port as httpx reads them, and a target that nobody rewrites."""
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
