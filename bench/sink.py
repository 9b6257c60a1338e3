"""A receiver that does nothing but answer 200 at once."""

import asyncio
from typing import Any

from typing_extensions import override

from bench.neighbour import END_OF_HEAD, content_length

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Sink(asyncio.Protocol):
    """Counts off the bytes of each request; `/hang` gets no answer."""

    def __init__(self) -> None:
        self._waiting = b""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport  # uvloop's is no asyncio.Transport

    @override
    def data_received(self, data: bytes) -> None:
        self._waiting += data
        while (end := self._waiting.find(END_OF_HEAD)) >= 0:
            head = self._waiting[:end]
            size = end + 4 + content_length(head)
            if len(self._waiting) < size:
                return
            self._waiting = self._waiting[size:]
            if not head.startswith(b"POST /hang"):
                self._transport.write(ANSWER)
