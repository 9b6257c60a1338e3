"""Real uvicorn servers inside the test's own event loop, on free ports of the loopback, and clients of them."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx
import uvicorn
from typing_extensions import override

from tests.support.waiting import loop_turns, until

WITHOUT_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # reading all certificates takes httpx 30 ms a client


class Server(uvicorn.Server):
    """Leaves the signals to pytest, and stops without waiting for uvicorn's next tick."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stopping = asyncio.Event()

    @contextmanager
    @override
    def capture_signals(self) -> Iterator[None]:
        yield

    @override
    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self.stopping.wait()

    def stop(self) -> None:
        """End the server in order; `serve` returns when it has ended."""
        self.should_exit = True
        self.stopping.set()

    @property
    def port(self) -> int:
        found: int = self.servers[0].sockets[0].getsockname()[1]
        return found

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def listen() -> socket.socket:
    """A listening socket, for a server whose port must be known before it starts."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio asks for the last
    listener.bind(("127.0.0.1", 0))
    listener.listen(2048)
    return listener


@asynccontextmanager
async def serving(
    app: Any, port: int = 0, *, listener: socket.socket | None = None, **options: Any
) -> AsyncIterator[Server]:
    """Serve `app` until the block ends, on `listener` if that is given; `options` are uvicorn's."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=port,
        log_level="error",
        log_config=None,
        timeout_graceful_shutdown=2,
        ws="none",
        **options,
    )
    server = Server(config)
    running = asyncio.create_task(server.serve(sockets=[listener] if listener else None))
    await until(lambda: server.started or running.done(), every_s=0.002)
    if running.done():
        running.result()
        raise RuntimeError("the server did not start")
    try:
        yield server
    finally:
        await _stop_accepting(server)
        server.stop()
        await running


async def _stop_accepting(server: Server) -> None:
    """asyncio leaves a connection unclosed that it has accepted when the server closes before it is set up."""
    for listener in [one for each in server.servers for one in each.sockets]:
        asyncio.get_running_loop().remove_reader(listener.fileno())
    await loop_turns(3)


def http_client(base_url: str, **options: Any) -> httpx.AsyncClient:
    """A client of a server without TLS; `options` are httpx's."""
    return httpx.AsyncClient(base_url=base_url, verify=WITHOUT_TLS, **options)
