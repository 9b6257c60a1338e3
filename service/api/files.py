"""Files: kept here, and brought to Soniox when a transcription that needs them goes there."""

from typing import Any

from fastapi import APIRouter, Request, Response

from service.api.auth import Caller, Reader, RelayOf, Submitter
from service.api.listing import PageOf, counted, listed
from service.api.uploads import Form, forget, receive_form
from service.errors import InvalidRequest, NotFound
from service.ids import is_uuid
from service.relay import Relay
from service.schemas import file_object
from service.store import files
from service.tables import File

router = APIRouter(prefix="/v1/files", tags=["Files"])

LONGEST_REFERENCE = 256


@router.post("", status_code=201, summary="Upload a file")
async def upload(request: Request, response: Response, caller: Submitter, relay: RelayOf) -> dict[str, Any]:
    form = await receive_form(relay, request, caller.owner, "client_reference_id")
    try:
        file = form.file.row
        file.client_reference_id = _reference(form)
        await relay.db.write(lambda connection: files.complete(connection, file))
    except BaseException:
        await forget(relay, form)
        raise
    response.headers["Location"] = f"/v1/files/{file.id}"
    return file_object(file)


@router.get("", summary="List files")
async def list_page(caller: Reader, relay: RelayOf, page: PageOf) -> dict[str, Any]:
    found = await relay.db.read(lambda session: files.page_of(session, caller.sees, page))
    return listed("files", found, page, file_object)


@router.get("/count", summary="Count files")
async def count(caller: Reader, relay: RelayOf) -> dict[str, int]:
    return counted(await relay.db.read(lambda session: files.count(session, caller.sees)))


@router.get("/{file_id}", summary="Read about a file")
async def read(file_id: str, caller: Reader, relay: RelayOf) -> dict[str, Any]:
    return file_object(await _owned(relay, file_id, caller))


@router.delete("/{file_id}", status_code=204, summary="Delete a file")
async def delete(file_id: str, caller: Submitter, relay: RelayOf) -> Response:
    file = await _owned(relay, file_id, caller)
    await relay.db.write(lambda connection: files.remove(connection, file.id))
    return Response(status_code=204)


async def _owned(relay: Relay, file_id: str, caller: Caller) -> File:
    """The caller's file. Raises NotFound, the same for a stranger's, for none and for a malformed id."""
    file = None
    if is_uuid(file_id):
        file = await relay.db.read(lambda session: files.find(session, file_id.lower(), caller.sees))
    if file is None:
        raise NotFound("File not found.", error_type="file_not_found")
    return file


def _reference(form: Form) -> str | None:
    if "client_reference_id" not in form.fields:
        return None
    reference = form.fields["client_reference_id"].decode("utf-8", "replace")
    if len(reference) > LONGEST_REFERENCE or "\0" in reference:
        text = f"at most {LONGEST_REFERENCE} characters, none of them NUL"
        raise InvalidRequest("Invalid request.", problems=(("body.client_reference_id", text),))
    return reference
