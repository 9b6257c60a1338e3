"""A server that is not what is measured, in a process of its own."""

import asyncio
import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

import uvloop

END_OF_HEAD = b"\r\n\r\n"


@contextmanager
def beside(protocol: Callable[[], asyncio.Protocol]) -> Iterator[str]:
    """The URL of a server that speaks this protocol; `protocol` must be a name of its module."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_run, args=(protocol, theirs), daemon=True)
    process.start()
    theirs.close()  # so that the end of a process that could not start is noticed
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.terminate()
        process.join()


def content_length(head: bytes) -> int:
    """Bytes that follow this head; 0 when it does not say."""
    begin = head.lower().find(b"content-length:")
    return int(head[begin + 15 :].split(b"\r\n", 1)[0]) if begin >= 0 else 0


def _run(protocol: Callable[[], asyncio.Protocol], pipe: "Connection[int, int]") -> None:
    uvloop.run(_serve(protocol, pipe))


async def _serve(protocol: Callable[[], asyncio.Protocol], pipe: "Connection[int, int]") -> None:
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    pipe.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()
