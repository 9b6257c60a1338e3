"""Files: stored here, and uploaded to Soniox when a transcription that uses them is submitted."""

from fastapi import APIRouter, Request, Response
from pydantic import Field

from service import tables
from service.api.deps import Reader, RelayDep, Submitter
from service.api.pagination import Count, NextCursor, PageDep, count_answer, page_and_cursor
from service.api.responses import COMMON_RESPONSES, form_of, refusals, with_headers
from service.api.uploads import UploadForm, discard_form, receive_form
from service.errors import InvalidRequestError, NotFoundError
from service.ids import is_uuid
from service.relay import Relay
from service.schemas import Moment, Open, Shown, Uuid
from service.services.keys import Caller
from service.store import files

router = APIRouter(prefix="/v1/files", tags=["Files"], responses=COMMON_RESPONSES)

MAX_REFERENCE = 256


class FilePublic(Shown):
    """An uploaded file."""

    id: Uuid
    filename: str = Field(examples=["1041.mp3"])
    size: int = Field(description="Bytes.", examples=[984_120])
    created_at: Moment
    client_reference_id: str | None = Field(examples=["call-1041"])


class FilePage(Open):
    """Some files."""

    files: list[FilePublic]
    next_page_cursor: NextCursor


REFERENCE = {"type": "string", "maxLength": MAX_REFERENCE}
UPLOAD = {"required": True, "content": form_of("client_reference_id", REFERENCE, required=False)}


@router.post(
    "",
    status_code=201,
    summary="Upload a file",
    responses={201: with_headers("Location"), **refusals(413, 415)},
    openapi_extra={"requestBody": UPLOAD},
)
async def upload(request: Request, response: Response, caller: Submitter, relay: RelayDep) -> FilePublic:
    form = await receive_form(relay, request, caller.owner, "client_reference_id")
    try:
        file = form.file.row
        file.client_reference_id = _reference(form)
        await relay.db.write(lambda session: files.complete(session, file))
    except BaseException:
        await discard_form(relay, form)
        raise
    response.headers["Location"] = f"/v1/files/{file.id}"
    return FilePublic.of(file)


@router.get("", summary="List files")
async def list_page(caller: Reader, relay: RelayDep, page: PageDep) -> FilePage:
    found = await relay.db.read(lambda session: files.page_of(session, caller.sees, page))
    here, cursor = page_and_cursor(found, page)
    return FilePage(files=[FilePublic.of(file) for file in here], next_page_cursor=cursor)


@router.get("/count", summary="Count files")
async def count(caller: Reader, relay: RelayDep) -> Count:
    return count_answer(await relay.db.read(lambda session: files.count(session, caller.sees)))


@router.get("/{file_id}", summary="Read about a file")
async def read(file_id: str, caller: Reader, relay: RelayDep) -> FilePublic:
    return FilePublic.of(await _get_owned(relay, file_id, caller))


@router.delete("/{file_id}", status_code=204, summary="Delete a file")
async def delete(file_id: str, caller: Submitter, relay: RelayDep) -> Response:
    file = await _get_owned(relay, file_id, caller)
    await relay.db.write(lambda session: files.remove(session, file.id))
    return Response(status_code=204)


async def _get_owned(relay: Relay, file_id: str, caller: Caller) -> tables.File:
    """Return a file that the caller may see. Raises the same NotFoundError for all others and malformed ids."""
    file = None
    if is_uuid(file_id):
        file = await relay.db.read(lambda session: files.find(session, file_id.lower(), caller.sees))
    if file is None:
        raise NotFoundError("File not found.", error_type="file_not_found")
    return file


def _reference(form: UploadForm) -> str | None:
    if "client_reference_id" not in form.fields:
        return None
    reference = form.fields["client_reference_id"].decode("utf-8", "replace")
    if len(reference) > MAX_REFERENCE or "\0" in reference:
        text = f"at most {MAX_REFERENCE} characters, none of them NUL"
        raise InvalidRequestError("Invalid request.", problems=(("body.client_reference_id", text),))
    return reference
