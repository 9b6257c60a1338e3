"""What one connection may cost: uvicorn bounds neither a slow or endless head nor the number of connections.

Whoever connects has HEAD_WITHIN_S for the head of the next request, and an answer must be read. Above the cap a
new connection takes the place of the one that has kept us waiting longest; nobody is turned away, since the next
one may bring a webhook that must not be refused without being stored.
"""

import asyncio
import resource
from typing import Any, ClassVar

from typing_extensions import override
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

HEAD_WITHIN_S = 10.0
READ_WITHIN_S = 60.0  # once the socket takes no more of an answer
LARGEST_HEAD = 64 * 1024  # bytes, and what the socket brings with the last of them
MOST_HEADERS = 100
MOST_CONNECTIONS = 4096
SPARE_FILES = 256  # for databases, logs and our own calls


class BoundedHttp(HttpToolsProtocol):
    """One connection."""

    waiting: ClassVar[dict["BoundedHttp", float]] = {}  # for a head, the longest first, and when it is due
    sending: ClassVar[dict["BoundedHttp", None]] = {}  # the rest of a body, the longest first
    most: ClassVar[int] = MOST_CONNECTIONS

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
            _make_room()
        self._await_head()
        self._look()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._leave_lines()
        _cancel(self._next_look)
        _cancel(self._read_due)
        if self._answered:
            self._answered.disconnected = not self._answered.response_complete
            self._answered.message_event.set()
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        if self in self.waiting and not self._drops_a_body():
            if self._head_bytes > LARGEST_HEAD:
                self.send_400_response("The head of the request is too long.")
                return
            self._head_bytes += len(data)
        super().data_received(data)

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= MOST_HEADERS:
            raise ValueError("too many headers")  # the parser stops, uvicorn answers 400 and closes
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
        """As in uvicorn, but for its timer: a new one for each request costs too much."""
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
        self._answered = (
            cycle  # of requests in a pipeline uvicorn would tell only the last that its caller is gone
        )
        super()._start_asgi_task(cycle, app)

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        self._read_due = self.loop.call_later(READ_WITHIN_S, self.transport.abort)

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        _cancel(self._read_due)

    def give_up(self) -> None:
        """Close; what was written has a while to be read."""
        self._leave_lines()
        if not self.transport.is_closing():
            self.transport.close()
        self._read_due = self.loop.call_later(READ_WITHIN_S, self.transport.abort)

    def _await_head(self) -> None:
        self._leave_lines()
        self._head_bytes = 0
        self.waiting[self] = self.loop.time() + HEAD_WITHIN_S

    def _look(self) -> None:
        """Give up if the head is overdue, else look again when it may be."""
        now_s = self.loop.time()
        due_s = self.waiting.get(self, now_s + HEAD_WITHIN_S)
        if due_s <= now_s:
            self.give_up()
        else:
            self._next_look = self.loop.call_at(due_s, self._look)

    def _leave_lines(self) -> None:
        self.waiting.pop(self, None)
        self.sending.pop(self, None)

    def _drops_a_body(self) -> bool:
        """The answer was given before the body had ended; what still comes of it is thrown away."""
        return self.cycle is not None and self.cycle.more_body


def claim_files() -> None:
    """Let this process open as many files as it may, and cap its connections below that."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * MOST_CONNECTIONS if hard == resource.RLIM_INFINITY else min(hard, 2 * MOST_CONNECTIONS)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    BoundedHttp.most = min(MOST_CONNECTIONS, max(soft, wanted) - SPARE_FILES)


def _make_room() -> None:
    """Close who has kept us waiting longest; those whose request is being answered stay."""
    for line in (BoundedHttp.waiting, BoundedHttp.sending):
        if line:
            next(iter(line)).give_up()
            return


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
