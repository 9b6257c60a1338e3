"""A downstream system: remembers every request to the byte and answers as told."""

from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


@dataclass(frozen=True)
class Received:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes


def accept(_request: Received) -> Response:
    """The usual answer."""
    return Response()


@dataclass
class Receiver:
    """Its memory, and how it answers: `answer` is called with each request, 200 by default."""

    requests: list[Received] = field(default_factory=list)
    answer: Callable[[Received], Response] = accept

    def reset(self) -> None:
        """Forget every request, and answer 200 again."""
        self.requests.clear()
        self.answer = accept

    def app(self) -> Starlette:
        """The server."""
        return Starlette(routes=[Route("/{path:path}", self._receive, methods=["POST", "GET"])])

    def at(self, path: str) -> list[Received]:
        """The requests to one path."""
        return [request for request in self.requests if request.path == path]

    async def _receive(self, request: Request) -> Response:
        received = Received(request.url.path, dict(request.headers), await request.body())
        self.requests.append(received)
        return self.answer(received)
