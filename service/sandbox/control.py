"""The control API under `/_sandbox`: look inside, set faults, start afresh. No key: it is a loopback tool."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Body
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from service.sandbox.desk import AtDesk
from service.sandbox.faults import Faults
from service.sandbox.memory import Transcription
from service.sandbox.transcriptions import shown
from service.sandbox.validate import as_json

router = APIRouter(prefix="/_sandbox")


@router.get("/state")
async def state(desk: AtDesk) -> dict[str, Any]:
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
async def everything_ever_created(desk: AtDesk) -> dict[str, Any]:
    return {"transcriptions": [_in_clear(job) for job in desk.soniox.created.values()]}


@router.get("/faults")
async def faults(desk: AtDesk) -> Faults:
    return desk.faults.knobs


@router.put("/faults")
async def replace_faults(knobs: Faults, desk: AtDesk) -> Faults:
    desk.faults.set(knobs)
    return knobs


@router.patch("/faults")
async def change_faults(changes: dict[str, Any], desk: AtDesk) -> Faults:
    """Knobs not named stay as they are; a knob that is named is replaced with all its rules."""
    try:
        desk.faults.set(Faults.model_validate(desk.faults.knobs.model_dump() | changes))
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None
    return desk.faults.knobs


@router.post("/reset", status_code=204)
async def reset(desk: AtDesk) -> None:
    await desk.reset()


@router.post("/redeliver/{transcription_id}")
async def redeliver(
    transcription_id: str, desk: AtDesk, status: str | None = Body(default=None, embed=True)
) -> dict[str, Any]:
    """Send a job's webhook once more, now; with another `status` in the body it is a forgery."""
    job = desk.soniox.created.get(transcription_id)
    if job is None or job.request.webhook_url is None:
        raise HTTPException(404, "No such transcription, or it has no webhook")
    return asdict(await desk.webhooks.send(job, status))


def _in_clear(job: Transcription) -> dict[str, Any]:
    return shown(job) | as_json(job.request) | {"deleted": job.deleted}
