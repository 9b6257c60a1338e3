"""Calls to Soniox, and the multipart body of an upload."""

import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from service.errors import SonioxError, SonioxNotFoundError, SonioxOutcomeUnknownError, SonioxUnreachableError
from service.http_client import FAILURES, HttpResponse, RequestLimits, new_client, send_request
from service.soniox import models
from service.soniox.models import (
    RemoteCount,
    RemoteFile,
    RemoteFilePage,
    RemoteTranscription,
    RemoteTranscriptionPage,
)


@dataclass(frozen=True)
class Upload:
    """A file to upload. `chunks` returns a new iterator over its bytes, so that a try can be repeated."""

    filename: str
    size: int
    reference: str
    chunks: Callable[[], AsyncIterator[bytes]]


BOUNDARY = "soniox-relay-5b0f4c1e9a"


def encode_multipart(upload: Upload) -> tuple[dict[str, str], AsyncIterator[bytes]]:
    """Return headers and body of the upload request."""
    head = _form_field("client_reference_id", upload.reference) + _file_header(upload.filename)
    tail = f"\r\n--{BOUNDARY}--\r\n".encode()
    headers = {
        "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
        "Content-Length": str(len(head) + upload.size + len(tail)),
    }
    return headers, _multipart_body(head, upload, tail)


async def _multipart_body(head: bytes, upload: Upload, tail: bytes) -> AsyncIterator[bytes]:
    yield head
    async for chunk in upload.chunks():
        yield chunk
    yield tail


def _form_field(name: str, value: str) -> bytes:
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()


def _file_header(filename: str) -> bytes:
    escaped = filename.replace("\\", "\\\\").replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    disposition = f'Content-Disposition: form-data; name="file"; filename="{escaped}"'
    return f"--{BOUNDARY}\r\n{disposition}\r\nContent-Type: application/octet-stream\r\n\r\n".encode()


T = TypeVar("T")
Permit = Callable[[str], Awaitable[None]]  # waits until a request of that traffic class is permitted
Observe = Callable[[str, int | None, float], None]  # operation, HTTP status, seconds
PreSendCheck = Callable[[], Awaitable[bool]]  # called right before a request that cannot be undone
ResultObserver = Callable[[SonioxError | None], None]  # called with the error of each request, or None

PAGE = 1000  # Soniox's largest page
CALL = RequestLimits(deadline_s=30, bytes=16 * 2**20)
TRANSCRIPT = RequestLimits(deadline_s=120, bytes=128 * 2**20)
JSON = {"Content-Type": "application/json"}
REPEATABLE = (SonioxUnreachableError, SonioxOutcomeUnknownError)
TRIES = 3
# More than the concurrency of the queues that call Soniox: waiting for a connection would count as no response.
CONNECTIONS = 128


@dataclass(frozen=True)
class Call:
    """One kind of request: its name in metrics, its traffic class, and whether it may be repeated."""

    name: str
    method: str
    traffic_class: str
    repeatable: bool = True
    caps: RequestLimits = CALL


CREATE = Call("create_transcription", "POST", "live", repeatable=False)
UPLOAD = Call("upload_file", "POST", "live", repeatable=False, caps=RequestLimits(deadline_s=3600, bytes=2**20))
READ = Call("get_transcription", "GET", "live")
LOOK = Call("get_transcription", "GET", "sweep")
READ_TRANSCRIPT = Call("get_transcript", "GET", "live", caps=TRANSCRIPT)
LIST = Call("list_transcriptions", "GET", "sweep")
LIST_FILES = Call("list_files", "GET", "sweep")
COUNT = Call("count", "GET", "sweep")
MODELS = Call("get_models", "GET", "live")
DELETE = Call("delete_transcription", "DELETE", "clean")
DELETE_FILE = Call("delete_file", "DELETE", "clean")


class Soniox:
    """A client for one Soniox project. Its methods raise only SonioxError."""

    def __init__(
        self, base_url: str, api_key: str, permit: Permit, hear: ResultObserver, observe: Observe
    ) -> None:
        self._base_url = base_url
        self._http = new_client(headers={"Authorization": f"Bearer {api_key}"}, connections=CONNECTIONS)
        self._permit = permit
        self._hear = hear
        self.made: Counter[str] = Counter()  # requests by traffic class, since the start
        self._observe = observe

    async def create_transcription(self, payload: dict[str, Any], may_i: PreSendCheck) -> RemoteTranscription:
        """Create a transcription. After SonioxOutcomeUnknownError it may exist: list before creating again."""
        answer = await self._call(
            CREATE, "/transcriptions", may_i, headers=JSON, body=msgspec.json.encode(payload)
        )
        return _decoded(answer, RemoteTranscription)

    async def upload_file(self, upload: Upload, may_i: PreSendCheck) -> RemoteFile:
        """Upload a file in constant memory. After SonioxOutcomeUnknownError the file may exist."""
        headers, body = encode_multipart(upload)
        return _decoded(await self._call(UPLOAD, "/files", may_i, headers=headers, body=body), RemoteFile)

    async def get_transcription(self, soniox_id: str) -> RemoteTranscription:
        """Read one transcription before fetching its transcript (traffic class live)."""
        return _decoded(await self._call(READ, f"/transcriptions/{soniox_id}"), RemoteTranscription)

    async def peek_transcription(self, soniox_id: str) -> RemoteTranscription:
        """Read one transcription for the sweep (traffic class sweep)."""
        return _decoded(await self._call(LOOK, f"/transcriptions/{soniox_id}"), RemoteTranscription)

    async def get_transcript(self, soniox_id: str) -> bytes:
        """Return the transcript as JSON bytes, at most 128 MiB. Raises SonioxNotReadyError while unfinished."""
        return await self._call(READ_TRANSCRIPT, f"/transcriptions/{soniox_id}/transcript")

    async def get_models(self) -> bytes:
        """Return the list of models as JSON bytes."""
        return await self._call(MODELS, "/models")

    async def list_transcriptions(self) -> AsyncIterator[RemoteTranscription]:
        """Yield all transcriptions of the project, with one request per 1,000."""
        async for page in self._pages(LIST, "/transcriptions", RemoteTranscriptionPage):
            for transcription in page.transcriptions:
                yield transcription

    async def list_files(self) -> AsyncIterator[RemoteFile]:
        """Yield all files of the project, with one request per 1,000."""
        async for page in self._pages(LIST_FILES, "/files", RemoteFilePage):
            for file in page.files:
                yield file

    async def count_transcriptions(self) -> int:
        """Return how many transcriptions the project has."""
        return _decoded(await self._call(COUNT, "/transcriptions/count"), RemoteCount).total

    async def count_files(self) -> int:
        """Return how many files the project has."""
        return _decoded(await self._call(COUNT, "/files/count"), RemoteCount).total

    async def delete_transcription(self, soniox_id: str) -> None:
        """Delete a transcription; 404 counts as deleted. Raises SonioxNotReadyError while it is processed."""
        await self._delete(DELETE, f"/transcriptions/{soniox_id}")

    async def delete_file(self, file_id: str) -> None:
        """Delete a file; 404 counts as deleted."""
        await self._delete(DELETE_FILE, f"/files/{file_id}")

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def _delete(self, call: Call, path: str) -> None:
        try:
            await self._call(call, path)
        except SonioxNotFoundError:
            return

    async def _pages(self, call: Call, path: str, page_type: type[Any]) -> AsyncIterator[Any]:
        cursor: str | None = None
        while True:
            params = {"limit": str(PAGE)} | ({"cursor": cursor} if cursor else {})
            page = _decoded(await self._call(call, f"{path}?{urlencode(params)}"), page_type)
            yield page
            cursor = page.next_page_cursor
            if not cursor:
                return

    async def _call(self, call: Call, path: str, may_i: PreSendCheck | None = None, **request: Any) -> bytes:
        """Return the body of a 2xx response. Transient failures are retried where that is safe."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(REPEATABLE if call.repeatable else SonioxUnreachableError),
            wait=wait_random_exponential(multiplier=0.2, max=3),
            stop=stop_after_attempt(TRIES),
            reraise=True,
        ):
            with attempt:
                return await self._try(call, path, may_i, request)
        raise AssertionError("tenacity gives back a result or raises")

    async def _try(self, call: Call, path: str, may_i: PreSendCheck | None, request: dict[str, Any]) -> bytes:
        await self._permit(call.traffic_class)
        if may_i and not await may_i():
            raise SonioxUnreachableError("the claim ended before the request was sent")
        self.made[call.traffic_class] += 1
        try:
            answer = await self._exchange(call, path, request)
            if not answer.is_success:
                raise models.error_from_response(answer)
        except SonioxError as error:
            self._hear(error)
            raise
        self._hear(None)
        return answer.content

    async def _exchange(self, call: Call, path: str, request: dict[str, Any]) -> HttpResponse:
        started = time.monotonic()
        status: int | None = None
        try:
            answer = await send_request(self._http, call.method, self._base_url + path, call.caps, **request)
            status = answer.status_code
        except FAILURES as error:
            raise models.error_from_failure(error) from error
        finally:
            self._observe(call.name, status, time.monotonic() - started)
        return answer


def _decoded(content: bytes, answer_type: type[T]) -> T:
    """Decode a 2xx body. A malformed one raises SonioxOutcomeUnknownError: the request had an effect."""
    try:
        return msgspec.json.decode(content, type=answer_type)
    except msgspec.MsgspecError as error:
        raise SonioxOutcomeUnknownError("Soniox's answer was cut or malformed") from error
