"""The sandbox as an ASGI app: Soniox's API under `/v1`, the control API under `/_sandbox`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any, cast

from fastapi import APIRouter, Body, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from service.sandbox import files, transcriptions, usage
from service.sandbox.context import ContextDep, SandboxContext
from service.sandbox.fault_middleware import FaultMiddleware
from service.sandbox.faults import Faults
from service.sandbox.recogniser import require_recogniser
from service.sandbox.schemas import ApiError, as_json, usual_error_type
from service.sandbox.state import FakeTranscription, SandboxConfig
from service.sandbox.transcriptions import shown

router = APIRouter(prefix="/_sandbox")


@router.get("/state")
async def state(desk: ContextDep) -> dict[str, Any]:
    soniox, quotas = desk.soniox, desk.quotas
    statuses = {name: soniox.by_status[name] for name in ("queued", "processing", "completed", "error")}
    marks = {name: soniox.high_water[name] for name in ("pending", "transcriptions", "files", "bytes")}
    refusals = {name: quotas.refusals[name] for name in ("rate", "files", "bytes", "transcriptions", "pending")}
    return {
        "counts": {
            "files": len(soniox.files),
            "bytes": soniox.total_bytes,
            "transcriptions": len(soniox.transcriptions),
            "created_ever": len(soniox.created),
            **statuses,
        },
        "high_water": marks | {"requests_per_minute": quotas.busiest_minute},
        "quota_refusals": refusals,
        "calls": desk.calls,
        "answers": desk.answers,
        "creates_by_webhook_url": soniox.creates_by_webhook_url,
        "webhooks": desk.webhooks.report(),
    }


@router.get("/transcriptions")
async def everything_ever_created(desk: ContextDep) -> dict[str, Any]:
    return {"transcriptions": [_in_clear(job) for job in desk.soniox.created.values()]}


@router.get("/faults")
async def faults(desk: ContextDep) -> Faults:
    return desk.faults.knobs


@router.put("/faults")
async def replace_faults(knobs: Faults, desk: ContextDep) -> Faults:
    desk.faults.set(knobs)
    return knobs


@router.patch("/faults")
async def change_faults(changes: dict[str, Any], desk: ContextDep) -> Faults:
    """Replace the faults in the body, each with all its rules. Other faults do not change."""
    try:
        desk.faults.set(Faults.model_validate(desk.faults.knobs.model_dump() | changes))
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None
    return desk.faults.knobs


@router.post("/reset", status_code=204)
async def reset(desk: ContextDep) -> None:
    await desk.reset()


@router.post("/redeliver/{transcription_id}")
async def redeliver(
    transcription_id: str, desk: ContextDep, status: str | None = Body(default=None, embed=True)
) -> dict[str, Any]:
    """Send a job's webhook again, now. A `status` in the body replaces the job's own, to forge a webhook."""
    job = desk.soniox.created.get(transcription_id)
    if job is None or job.request.webhook_url is None:
        raise HTTPException(404, "No such transcription, or it has no webhook")
    return asdict(await desk.webhooks.send(job, status))


def _in_clear(job: FakeTranscription) -> dict[str, Any]:
    return shown(job) | as_json(job.request) | {"deleted": job.deleted}


class SandboxApp(FastAPI):
    gate: FaultMiddleware

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/v1/"):
            await self.gate.pass_on(scope, receive, send, super().__call__)
        else:
            await super().__call__(scope, receive, send)


def create_sandbox(config: SandboxConfig | None = None) -> FastAPI:
    """Create the app. Raises RuntimeError when a package of the recogniser is missing.

    Jobs are processed and webhooks are sent only while its lifespan runs, for example under uvicorn.
    """
    config = config or SandboxConfig()
    if config.recognise == "pocketsphinx":
        require_recogniser()
    app = SandboxApp(title="Soniox sandbox", lifespan=_while_open)
    desk = app.state.desk = SandboxContext.furnished(config)
    app.state.soniox = desk.soniox
    app.gate = FaultMiddleware(desk)
    for each in (files.router, transcriptions.router, usage.router, router):
        app.include_router(each)
    app.add_exception_handler(ApiError, _as_soniox_body)
    app.add_exception_handler(HTTPException, _as_soniox_body)
    return app


@asynccontextmanager
async def _while_open(app: FastAPI) -> AsyncIterator[None]:
    desk: SandboxContext = app.state.desk
    desk.open()
    yield
    await desk.close()


async def _as_soniox_body(request: Request, problem: Exception) -> JSONResponse:
    error = problem if isinstance(problem, ApiError) else _from_framework(cast(HTTPException, problem))
    return JSONResponse(error.body(request.scope.get("request_id", "")), error.status)


def _from_framework(problem: HTTPException) -> ApiError:
    """Convert a framework error, such as an unknown path or method, to Soniox's error body."""
    return ApiError(problem.status_code, usual_error_type(problem.status_code), str(problem.detail))
