"""Real uvicorn servers inside the test's own event loop, on free ports of the loopback."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn


class Server(uvicorn.Server):
    """Leaves the signals to pytest."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    @property
    def port(self) -> int:
        found: int = self.servers[0].sockets[0].getsockname()[1]
        return found

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def serving(app: Any, port: int = 0, **options: Any) -> AsyncIterator[Server]:
    """Serve `app` until the block ends; `options` are uvicorn's."""
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
    running = asyncio.create_task(server.serve())
    while not server.started:
        if running.done():
            running.result()
            raise RuntimeError("the server did not start")
        await asyncio.sleep(0.005)
    try:
        yield server
    finally:
        server.should_exit = True
        await running
