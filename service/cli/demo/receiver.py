"""A downstream receiver: takes notifications and verifies them with the standardwebhooks library."""

import json
import queue
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError
from typing_extensions import override

from service.cli.console import CommandError, TimedOutError


@dataclass(frozen=True)
class Notification:
    """One received request."""

    at_s: float  # wall time
    headers: Mapping[str, str]
    body: bytes

    @property
    def event_id(self) -> str:
        return self.headers["webhook-id"]

    def verified(self, secret: str) -> dict[str, Any]:
        """Verify the signature and return the event. Raises CommandError."""
        try:
            Webhook(secret).verify(self.body, dict(self.headers))
        except WebhookVerificationError as error:
            raise CommandError(f"the notification's signature is wrong: {error}") from None
        return dict(json.loads(self.body))


@dataclass
class DemoReceiver:
    """Collects the notifications that arrive at `url`."""

    url: str
    _came: "queue.Queue[Notification]" = field(default_factory=queue.Queue)

    def next_one(self, within_s: float) -> Notification:
        """Return the next notification. Raises TimedOutError."""
        try:
            return self._came.get(timeout=within_s)
        except queue.Empty:
            raise TimedOutError(f"no notification came within {within_s:g} s") from None

    def rest(self) -> list[Notification]:
        """Return the notifications that `next_one` has not returned."""
        return [self._came.get_nowait() for _ in range(self._came.qsize())]

    def take(self, notification: Notification) -> None:
        """Store a notification. The server's thread calls this."""
        self._came.put(notification)


@contextmanager
def open_receiver(host: str) -> Iterator[DemoReceiver]:
    """Open a receiver on a free port until the block ends."""
    server = ThreadingHTTPServer((host, 0), BaseHTTPRequestHandler)
    receiver = DemoReceiver(f"http://{host}:{server.server_port}/events")
    server.RequestHandlerClass = _handler_for(receiver)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler_for(receiver: DemoReceiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.take(Notification(time.time(), headers, body))
            self.send_response(204)
            self.end_headers()

        @override
        def log_message(self, format: str, *args: Any) -> None:
            """Log nothing; the demo prints its own lines."""

    return Handler
