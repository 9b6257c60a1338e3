"""Routes of `/v1/files`."""

from typing import Any

from fastapi import APIRouter, Request, Response

from service.sandbox.context import ContextDep
from service.sandbox.limits import page_of
from service.sandbox.schemas import file_not_found, page_limit, path_id
from service.sandbox.state import StoredFile, timestamp
from service.sandbox.upload import receive_upload

router = APIRouter(prefix="/v1/files")


@router.post("", status_code=201)
async def upload_file(request: Request, desk: ContextDep) -> dict[str, Any]:
    desk.quotas.admit_file()
    path = desk.soniox.fresh_path()
    upload = await receive_upload(request, path, desk.config.max_file_bytes)
    try:
        desk.quotas.admit_file(upload.size)
    except BaseException:
        path.unlink()
        raise
    stored = desk.soniox.add_file(upload.filename, upload.size, path, upload.client_reference_id)
    return shown(stored)


@router.get("")
async def list_files(desk: ContextDep, limit: str | None = None, cursor: str | None = None) -> dict[str, Any]:
    newest_first = desk.faults.knobs.list_order == "newest"
    page, following = page_of(desk.soniox.files.values(), page_limit(limit), cursor, newest_first=newest_first)
    return {"files": [shown(stored) for stored in page], "next_page_cursor": following}


@router.get("/count")
async def count_files(desk: ContextDep) -> dict[str, int]:
    total = len(desk.soniox.files)
    return {"total": total, "public_api": total, "playground": 0}


@router.get("/{file_id}")
async def get_file(file_id: str, desk: ContextDep) -> dict[str, Any]:
    return shown(_found(file_id, desk))


@router.delete("/{file_id}", status_code=204)
async def delete_file(file_id: str, desk: ContextDep) -> Response:
    desk.soniox.delete_file(_found(file_id, desk).id)
    return Response(status_code=204)


def _found(text: str, desk: ContextDep) -> StoredFile:
    file_id = path_id(text, "file_id", desk.faults.knobs.malformed_id_status, file_not_found())
    stored = desk.soniox.files.get(file_id)
    if stored is None:
        raise file_not_found()
    return stored


def shown(stored: StoredFile) -> dict[str, Any]:
    return {
        "id": stored.id,
        "filename": stored.filename,
        "size": stored.size,
        "created_at": timestamp(stored.created_at),
        "client_reference_id": stored.client_reference_id,
    }
