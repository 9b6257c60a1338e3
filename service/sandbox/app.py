"""The Soniox double as one ASGI app: the API under `/v1`, the control API under `/_sandbox`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from service.sandbox import control, files, transcriptions, usage
from service.sandbox.config import SandboxConfig
from service.sandbox.desk import Desk
from service.sandbox.errors import SonioxError, usual_error_type
from service.sandbox.gate import Gate
from service.sandbox.recognise import require_recogniser


class SandboxApp(FastAPI):
    gate: Gate

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/v1/"):
            await self.gate.pass_on(scope, receive, send, super().__call__)
        else:
            await super().__call__(scope, receive, send)


def create_sandbox(config: SandboxConfig | None = None) -> FastAPI:
    """Jobs are processed and webhooks sent only while the app's lifespan runs, under uvicorn for instance."""
    config = config or SandboxConfig()
    if config.recognise == "pocketsphinx":
        require_recogniser()
    app = SandboxApp(title="Soniox sandbox", lifespan=_while_open)
    desk = app.state.desk = Desk.furnished(config)
    app.state.soniox = desk.soniox
    app.gate = Gate(desk)
    for module in (files, transcriptions, usage, control):
        app.include_router(module.router)
    app.add_exception_handler(SonioxError, _as_soniox_body)
    app.add_exception_handler(HTTPException, _as_soniox_body)
    return app


@asynccontextmanager
async def _while_open(app: FastAPI) -> AsyncIterator[None]:
    desk: Desk = app.state.desk
    desk.open()
    yield
    await desk.close()


async def _as_soniox_body(request: Request, problem: Exception) -> JSONResponse:
    error = problem if isinstance(problem, SonioxError) else _from_framework(cast(HTTPException, problem))
    return JSONResponse(error.body(request.scope.get("request_id", "")), error.status)


def _from_framework(problem: HTTPException) -> SonioxError:
    """Paths and methods that Soniox does not know are answered in its shape as well."""
    return SonioxError(problem.status_code, usual_error_type(problem.status_code), str(problem.detail))
