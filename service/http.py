"""Every outgoing HTTP client is made here, so that a change of client is one edit.

It is aiohttp's: measured, the quickest by far (docs/decisions/aiohttp-goes-out.md). A request is bounded as a
whole, in seconds and bytes; timeouts for each read let a slow sender hold us for ever. Redirects are not followed,
proxies of the environment are not used, nothing is decompressed, cookies are not kept.

Names are resolved in threads of the client's own: the event loop's few would all be taken by one receiver whose
name server is silent.
"""

import asyncio
import socket
from collections.abc import AsyncIterable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import aiohttp
from typing_extensions import override


@dataclass(frozen=True)
class Caps:
    """Bounds of one exchange, connecting and body included."""

    deadline_s: float
    bytes: int


USER_AGENT = "soniox-relay"
Vet = Callable[[str, str], None]  # (host, address): raises OSError for an address not to be connected to


FAILURES = (aiohttp.ClientError, OSError, ValueError)  # whatever an exchange can raise; TimeoutError is an OSError
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


class Answer(NamedTuple):
    """What came back, read to its end and as it was sent, compressed or not."""

    status_code: int
    headers: Mapping[str, str]  # whatever the case of the names
    content: bytes

    @property
    def is_success(self) -> bool:
        return 200 <= self.status_code < 300


class Client:
    """A pool of connections and the headers that each request has."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def exchange(
        self,
        method: str,
        url: str,
        caps: Caps,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        body: bytes | AsyncIterable[bytes] | None = None,
    ) -> Answer:
        """Send and read at most `caps.bytes` of the answer; `headers` go before the client's own.

        Raises one of FAILURES: TimeoutError past the deadline, TooLong past the byte cap.
        """
        request = self._session.request(
            method, url, headers=headers, params=params, data=body, allow_redirects=False
        )
        async with asyncio.timeout(caps.deadline_s), request as answer:
            return Answer(answer.status, answer.headers, await _read(answer.content, caps.bytes))

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()


def new_client(*, headers: dict[str, str], connections: int, vet: Vet | None = None) -> Client:
    """A client with at most so many connections, each to an address that `vet` let pass. Needs a running loop."""
    connector = VettingConnector(vet, connections) if vet else aiohttp.TCPConnector(limit=connections)
    session = aiohttp.ClientSession(
        connector=connector,
        headers={"Accept-Encoding": "identity", "User-Agent": USER_AGENT, **headers},
        timeout=aiohttp.ClientTimeout(),  # none: `Caps` bound the whole
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
    )
    return Client(session)


def nothing_was_sent(error: BaseException) -> bool:
    """True only when no connection came about, or there was no URL to connect to."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, NEVER_SENT):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


NEVER_SENT = (aiohttp.ClientConnectorError, aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError)


async def _read(body: aiohttp.StreamReader, most: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while part := await body.readany():
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
