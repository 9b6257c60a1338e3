"""How many requests there are, and how long until their answers begin, by route."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import telemetry


class HttpMetrics:
    """Pure ASGI, so that streams pass untouched. The route is its template: paths of callers would never end."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s, answered = time.perf_counter(), False

        async def send_and_observe(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                _observe(scope, message["status"], time.perf_counter() - began_s)
            await send(message)

        try:
            await self._app(scope, receive, send_and_observe)
        except Exception:
            if not answered:  # the answer to what nobody foresaw is made outside of this
                _observe(scope, 500, time.perf_counter() - began_s)
            raise


def _observe(scope: Scope, status_code: int, seconds: float) -> None:
    telemetry.http_request_seconds.labels(scope["method"], _route_of(scope), str(status_code)).observe(seconds)


def _route_of(scope: Scope) -> str:
    """FastAPI names its own routes only; the others, such as the webhook's, have no parameters."""
    if template := getattr(scope.get("route"), "path", None):
        return f"{scope.get('root_path', '')}{template}"
    return str(scope["path"]) if "endpoint" in scope else "none"
