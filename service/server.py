"""The HTTP server: uvicorn with limits per connection, signal handling and a graceful shutdown."""

import asyncio
import resource
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, ClassVar

import uvicorn
from fastapi import FastAPI
from typing_extensions import override
from uvicorn._types import ASGI3Application
from uvicorn.lifespan.off import LifespanOff
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.app import WatchState, create_watch, refuse_old_schema, settle_memory
from service.background import run_background
from service.db.engines import single_process_lock
from service.relay import open_relay
from service.settings import Settings

BACKLOG = 2048
FINISH_WITHIN_S = 3  # for requests under way; the worker may then take 5 s, and the whole shutdown 10 s


async def serve_app(app: FastAPI, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT. Raises what the application's startup raises."""
    raise_file_limit()
    with listener:
        async with app.router.lifespan_context(app) as entered:
            state = dict(entered or {})
            server = _server(app, state)

            def stop() -> None:
                if "draining" in state:  # the sandbox does not have it
                    state["draining"].set()
                server.should_exit = True

            _on_stop(stop)
            settle_memory()
            await server.serve(sockets=[listener])


async def run_worker(settings: Settings, listener: socket.socket | None) -> None:
    """Run the worker and the reconciler until SIGTERM or SIGINT. `listener` serves health and metrics."""
    stop = asyncio.Event()
    _on_stop(stop.set)
    with single_process_lock(settings):
        async with open_relay(settings) as relay:
            await refuse_old_schema(relay)
            state = WatchState(relay=relay, draining=stop)
            async with _served(create_watch(), state, listener), run_background(relay):
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
        http=TimeoutHttpProtocol,
        ws="none",
        lifespan="off",  # the caller enters it, to get its errors unchanged
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=FINISH_WITHIN_S,
    )
    config.load()
    config.lifespan_class = partial(_EnteredLifespan, state)
    return _Server(config)


class _EnteredLifespan(LifespanOff):
    """A lifespan that is already entered. Its state is added to every request."""

    def __init__(self, state: Mapping[str, Any], config: uvicorn.Config) -> None:
        super().__init__(config)
        self.state = dict(state)


def _on_stop(react: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, react)


class _Server(uvicorn.Server):
    """A server without uvicorn's signal handlers, which raise the signal again and so change the exit code."""

    @override
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


HEAD_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0  # for a client that stops reading the response
MAX_HEAD = 64 * 1024  # bytes; checked before each read, so the last read may exceed it
MAX_HEADERS = 100
MAX_CONNECTIONS = 4096
SPARE_FILES = 256  # for databases, logs and outgoing connections


class TimeoutHttpProtocol(HttpToolsProtocol):
    """One connection, with timeouts for the head of a request and for reading the response."""

    # Connections that wait for a head, the longest first, with their deadline.
    waiting: ClassVar[dict["TimeoutHttpProtocol", float]] = {}
    # Connections that receive a body, the longest first.
    sending: ClassVar[dict["TimeoutHttpProtocol", None]] = {}
    most: ClassVar[int] = MAX_CONNECTIONS

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._head_bytes = 0
        self._next_look: asyncio.TimerHandle | None = None
        self._read_due: asyncio.TimerHandle | None = None
        self._answered: RequestResponseCycle | None = None

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        if len(self.connections) > self.most:
            _close_longest_waiting()
        self._await_head()
        self._look()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._leave_lines()
        _cancel_timer(self._next_look)
        _cancel_timer(self._read_due)
        if self._answered:
            self._answered.disconnected = not self._answered.response_complete
            self._answered.message_event.set()
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        if self in self.waiting and not self._drops_a_body():
            if self._head_bytes > MAX_HEAD:
                self.send_400_response("The head of the request is too long.")
                return
            self._head_bytes += len(data)
        super().data_received(data)

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= MAX_HEADERS:
            raise ValueError("too many headers")  # uvicorn then answers 400 and closes the connection
        super().on_header(name, value)

    @override
    def on_headers_complete(self) -> None:
        self.waiting.pop(self, None)
        self.sending[self] = None
        super().on_headers_complete()

    @override
    def on_message_complete(self) -> None:
        self.sending.pop(self, None)
        super().on_message_complete()

    @override
    def on_response_complete(self) -> None:
        """Do as uvicorn does, without its timer: a new timer for each request costs too much."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._await_head()

    @override
    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        # uvicorn reports a lost connection only to the last of several pipelined requests.
        self._answered = cycle
        super()._start_asgi_task(cycle, app)

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        self._read_due = self.loop.call_later(READ_TIMEOUT_S, self.transport.abort)

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        _cancel_timer(self._read_due)

    def give_up(self) -> None:
        """Close the connection. The client has READ_TIMEOUT_S to read what was written."""
        self._leave_lines()
        if not self.transport.is_closing():
            self.transport.close()
        self._read_due = self.loop.call_later(READ_TIMEOUT_S, self.transport.abort)

    def _await_head(self) -> None:
        self._leave_lines()
        self._head_bytes = 0
        self.waiting[self] = self.loop.time() + HEAD_TIMEOUT_S

    def _look(self) -> None:
        """Close the connection if the head is overdue, else check again at its deadline."""
        now_s = self.loop.time()
        due_s = self.waiting.get(self, now_s + HEAD_TIMEOUT_S)
        if due_s <= now_s:
            self.give_up()
        else:
            self._next_look = self.loop.call_at(due_s, self._look)

    def _leave_lines(self) -> None:
        self.waiting.pop(self, None)
        self.sending.pop(self, None)

    def _drops_a_body(self) -> bool:
        """Return whether the response is complete and the rest of the request's body is discarded."""
        return self.cycle is not None and self.cycle.more_body


def raise_file_limit() -> None:
    """Raise the limit of open files, and set the maximum of connections below it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * MAX_CONNECTIONS if hard == resource.RLIM_INFINITY else min(hard, 2 * MAX_CONNECTIONS)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    TimeoutHttpProtocol.most = min(MAX_CONNECTIONS, max(soft, wanted) - SPARE_FILES)


def _close_longest_waiting() -> None:
    """Close the connection that has waited longest for a request. Requests being answered are not affected."""
    for line in (TimeoutHttpProtocol.waiting, TimeoutHttpProtocol.sending):
        if line:
            next(iter(line)).give_up()
            return


def _cancel_timer(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
