"""What stays up until it is told to stop: an application behind a socket, or the worker alone."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import uvicorn
from fastapi import FastAPI
from typing_extensions import override
from uvicorn.lifespan.off import LifespanOff

from service.app import WatchState, create_watch, refuse_old_schema, settle_memory
from service.cli.connections import BoundedHttp, claim_files
from service.locks import only_process
from service.processes import start_work
from service.relay import open_relay
from service.settings import Settings

BACKLOG = 2048
FINISH_WITHIN_S = 3  # for requests under way; the worker may then take 5 s, and all of it 10


async def serve_app(app: FastAPI, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT. Raises what the application raises while it starts."""
    claim_files()
    with listener:
        async with app.router.lifespan_context(app) as entered:
            state = dict(entered or {})
            server = _server(app, state)

            def stop() -> None:
                if "draining" in state:  # the sandbox has none
                    state["draining"].set()
                server.should_exit = True

            _on_stop(stop)
            settle_memory()
            await server.serve(sockets=[listener])


async def work(settings: Settings, listener: socket.socket | None) -> None:
    """Run the worker and the reconciler until SIGTERM or SIGINT; health and metrics are shown on `listener`."""
    stop = asyncio.Event()
    _on_stop(stop.set)
    with only_process(settings):
        async with open_relay(settings) as relay:
            await refuse_old_schema(relay)
            state = WatchState(relay=relay, draining=stop)
            async with _served(create_watch(), state, listener), start_work(relay):
                settle_memory()
                await stop.wait()


@asynccontextmanager
async def _served(app: FastAPI, state: WatchState, listener: socket.socket | None) -> AsyncIterator[None]:
    if listener is None:
        yield
        return
    server = _server(app, state)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await serving
        listener.close()


def _server(app: FastAPI, state: Mapping[str, Any]) -> "_Server":
    config = uvicorn.Config(
        app,
        http=BoundedHttp,
        ws="none",
        lifespan="off",  # entered by the caller, so that its errors reach him as they are
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=FINISH_WITHIN_S,
    )
    config.load()
    config.lifespan_class = partial(_Entered, state)
    return _Server(config)


class _Entered(LifespanOff):
    """The lifespan that the caller has entered; its state goes to every request."""

    def __init__(self, state: Mapping[str, Any], config: uvicorn.Config) -> None:
        super().__init__(config)
        self.state = dict(state)


def _on_stop(react: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, react)


class _Server(uvicorn.Server):
    """Without uvicorn's signal handlers, which raise the signal again in the end and spoil the exit code."""

    @override
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
