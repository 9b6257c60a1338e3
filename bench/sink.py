"""A receiver that does nothing but answer 200 at once, in a process of its own."""

import asyncio
import multiprocessing
import multiprocessing.connection
from collections.abc import Iterator
from contextlib import contextmanager

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
END_OF_HEAD = b"\r\n\r\n"


class Sink(asyncio.Protocol):
    """Counts off the bytes of each request; `/hang` gets no answer."""

    def __init__(self) -> None:
        self._waiting = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._waiting += data
        while (end := self._waiting.find(END_OF_HEAD)) >= 0:
            head = self._waiting[:end].lower()
            begin = head.index(b"content-length:") + 15
            length = int(head[begin:].split(b"\r\n", 1)[0])
            if len(self._waiting) < end + 4 + length:
                return
            self._waiting = self._waiting[end + 4 + length :]
            if not head.startswith(b"post /hang"):
                self._transport.write(ANSWER)


async def _serve(pipe: "multiprocessing.connection.Connection[int, int]") -> None:
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0)
    pipe.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def _run(pipe: "multiprocessing.connection.Connection[int, int]") -> None:
    asyncio.run(_serve(pipe))


@contextmanager
def sink() -> Iterator[str]:
    """Its URL."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_run, args=(theirs,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.terminate()
        process.join()
