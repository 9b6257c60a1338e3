"""multipart/form-data with a file, streamed into the database piece by piece in constant memory."""

from dataclasses import dataclass, field
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from service.errors import InvalidRequest, TooLarge
from service.ids import new_uuid
from service.relay import Relay
from service.store import files
from service.tables import File, FileChunk

PIECE = 1024 * 1024  # bytes of one stored chunk
LARGEST_FIELD = 256 * 1024  # bytes of a part that is not the file
MOST_PARTS = 20


@dataclass
class Form:
    """What came: small fields as bytes, and the file if there was one."""

    fields: dict[str, bytes] = field(default_factory=dict)
    file: File | None = None


async def receive_form(relay: Relay, request: Request, owner: str) -> Form:
    """Read the whole form; the file is stored but not complete yet: `files.complete` makes it exist.

    Raises InvalidRequest or TooLarge, with nothing kept.
    """
    reader = _Reader(relay, owner, _boundary(request))
    try:
        async for part in request.stream():
            await reader.take(part)
        return await reader.finish()
    except BaseException as error:
        await reader.discard()
        if isinstance(error, FormParserError):
            raise InvalidRequest("the multipart body is malformed") from error
        raise


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or b"boundary" not in options:
        raise InvalidRequest("send multipart/form-data with a boundary")
    return options[b"boundary"]


class _Reader:
    """Turns the parser's callbacks, which cannot wait, into pieces that are stored between two reads."""

    def __init__(self, relay: Relay, owner: str, boundary: bytes) -> None:
        self._relay = relay
        self._owner = owner
        self._form = Form()
        self._parts = 0
        self._header = (b"", b"")
        self._name = ""
        self._filename: str | None = None
        self._is_file = False
        self._pending = bytearray()
        self._stored = 0  # pieces
        self._size = 0  # bytes
        self._ended = False
        callbacks: Any = {
            "on_part_begin": self._begin_part,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._data,
            "on_end": self._end,
        }
        self._parser = MultipartParser(boundary, callbacks)

    async def take(self, part: bytes) -> None:
        """Parse what arrived and store what is whole."""
        for start in range(0, len(part), PIECE):
            self._parser.write(part[start : start + PIECE])
            while len(self._pending) >= PIECE:
                await self._store(PIECE)

    async def finish(self) -> Form:
        """Store the rest."""
        self._parser.finalize()
        if not self._ended:
            raise InvalidRequest("the multipart body ends in the middle")
        if self._pending or not self._stored:
            await self._store(len(self._pending))
        if self._form.file is not None:
            self._form.file.size = self._size
        return self._form

    async def discard(self) -> None:
        """Forget a file that will not be complete."""
        file = self._form.file
        if file is not None and self._stored:
            await self._relay.db.write(lambda connection: files.remove(connection, file.id))

    async def _store(self, size: int) -> None:
        file = self._form.file
        if file is None:
            return
        chunk = FileChunk(file_id=file.id, position=self._stored, data=bytes(self._pending[:size]))

        async def store(connection: Any) -> None:
            if chunk.position == 0:
                await files.begin(connection, file)
            await files.add_chunk(connection, chunk)

        await self._relay.db.write(store)
        del self._pending[:size]
        self._stored += 1

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise InvalidRequest("too many parts")
        self._name, self._filename, self._is_file = "", None, False

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._header = (self._header[0] + data[start:end].lower(), self._header[1])

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._header = (self._header[0], self._header[1] + data[start:end])

    def _end_header(self) -> None:
        name, value = self._header
        self._header = (b"", b"")
        if name == b"content-disposition":
            _, options = parse_options_header(value)
            self._name = options.get(b"name", b"").decode("utf-8", "replace")
            if b"filename" in options:
                self._filename = options[b"filename"].decode("utf-8", "replace")

    def _end_headers(self) -> None:
        self._is_file = self._name == "file"
        if self._is_file and self._form.file is not None:
            raise InvalidRequest("one file at a time", problems=(("file.file", "given twice"),))
        if self._is_file:
            now_ms = self._relay.clock()
            self._form.file = File(
                id=new_uuid(now_ms),
                owner=self._owner,
                filename=self._filename or "audio",
                size=0,
                created_at_ms=now_ms,
            )

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._size += end - start
            if self._size > self._relay.settings.relay_max_upload_bytes:
                raise TooLarge("the file is over the upload limit")
            self._pending += data[start:end]
            return
        value = self._form.fields.get(self._name, b"") + data[start:end]
        if len(value) > LARGEST_FIELD:
            raise TooLarge(f"the part `{self._name[:40]}` is over {LARGEST_FIELD} bytes")
        self._form.fields[self._name] = value

    def _end(self) -> None:
        self._ended = True
