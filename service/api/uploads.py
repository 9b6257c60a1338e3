"""Uploads: multipart forms, written from the socket to the database chunk by chunk, in constant memory."""

import hashlib
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from sqlmodel import Session
from starlette.requests import Request

from service.errors import InvalidRequestError, TooLargeError, UnsupportedMediaTypeError
from service.ids import new_uuid
from service.relay import Relay
from service.store import files
from service.tables import File, FileChunk

MAX_PARTS = 20
MAX_HEADERS = 16 * 1024  # bytes of all headers of one part


@dataclass(eq=False)
class Part:
    """A part of a form. `filename` is None for a plain field."""

    name: str = ""
    filename: str | None = None


Piece = tuple[Part, bytes]  # empty bytes mark the start of a part


class FormParser:
    """Parses a multipart form. The callbacks of the parser become a list of pieces for each read."""

    def __init__(self, content_type: str) -> None:
        self._pieces: list[Piece] = []
        self._part = Part()
        self._count = 0
        self._name, self._value = bytearray(), bytearray()
        self._header_bytes = 0
        self._ended = False
        self._parser = MultipartParser(
            _boundary(content_type),
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, start, end: self._header(self._name, data[start:end]),
                "on_header_value": lambda data, start, end: self._header(self._value, data[start:end]),
                "on_header_end": self._end_header,
                "on_headers_finished": lambda: self._pieces.append((self._part, b"")),
                "on_part_data": lambda data, start, end: self._pieces.append((self._part, data[start:end])),
                "on_end": self._end,
            },
        )

    def feed(self, data: bytes) -> list[Piece]:
        """Parse the next bytes and return the pieces in them. Raises InvalidRequestError."""
        try:
            self._parser.write(data)
        except FormParserError:
            raise InvalidRequestError("the multipart body is malformed") from None
        pieces, self._pieces = self._pieces, []
        return pieces

    def end(self) -> None:
        """End the form. Raises InvalidRequestError if it is incomplete."""
        if not self._ended:
            raise InvalidRequestError("the multipart body ends in the middle")

    def _begin(self) -> None:
        self._count += 1
        if self._count > MAX_PARTS:
            raise InvalidRequestError(f"a form may have {MAX_PARTS} parts")
        self._part = Part()
        self._header_bytes = 0

    def _header(self, half: bytearray, data: bytes) -> None:
        self._header_bytes += len(data)
        if self._header_bytes > MAX_HEADERS:
            raise InvalidRequestError("the headers of a part are too long")
        half += data

    def _end_header(self) -> None:
        if self._name.lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._value))
            self._part.name = options.get(b"name", b"").decode("utf-8", "replace")
            if b"filename" in options:
                self._part.filename = options[b"filename"].decode("utf-8", "replace")
        self._name.clear()
        self._value.clear()

    def _end(self) -> None:
        self._ended = True


def _boundary(content_type: str) -> bytes:
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        raise UnsupportedMediaTypeError("send multipart/form-data")
    if not options.get(b"boundary"):
        raise InvalidRequestError("the multipart/form-data header names no boundary")
    return options[b"boundary"]


PIECE = 1024 * 1024  # bytes of one stored chunk
MAX_FIELD = 256 * 1024  # bytes of a part that is not the file
ENVELOPE = 1024 * 1024  # bytes of a form besides its file
MAX_NAME = 255


class IncomingFile:
    """A file during its upload."""

    def __init__(self, relay: Relay, owner: str, filename: str | None) -> None:
        now_ms = relay.clock()
        self.row = File(id=new_uuid(now_ms), owner=owner, filename=_safe(filename), size=0, created_at_ms=now_ms)
        self._relay = relay
        self._digest = hashlib.sha256()
        self._pending = bytearray()
        self._stored = 0  # chunks

    @property
    def digest(self) -> str:
        """The SHA-256 of the bytes received so far, in hexadecimal."""
        return self._digest.hexdigest()

    async def take(self, data: bytes) -> None:
        """Take the next bytes and store full chunks. Raises InvalidRequestError if the file is too large."""
        self.row.size += len(data)
        if self.row.size > self._relay.settings.relay_max_upload_bytes:
            raise _too_large(self._relay)
        self._digest.update(data)
        self._pending += data
        while len(self._pending) >= PIECE:
            await self._store(PIECE)

    async def finish(self) -> None:
        """Store the remaining bytes. An empty file has one empty chunk."""
        if self._pending or not self._stored:
            await self._store(len(self._pending))

    async def _store(self, size: int) -> None:
        chunk = FileChunk(file_id=self.row.id, position=self._stored, data=bytes(self._pending[:size]))

        def store(session: Session) -> None:
            if chunk.position == 0:
                files.begin(session, self.row)
            files.add_chunk(session, chunk)

        await self._relay.db.write(store)
        del self._pending[:size]
        self._stored += 1


@dataclass
class UploadForm:
    """A received form: the wanted fields and the file."""

    fields: dict[str, bytes] = field(default_factory=dict)
    incoming: IncomingFile | None = None

    @property
    def file(self) -> IncomingFile:
        """The file. Raises InvalidRequestError if the form has none."""
        if self.incoming is None:
            raise InvalidRequestError(
                "the part `file` is missing", problems=(("file.file", "Field required", "missing"),)
            )
        return self.incoming


async def receive_form(relay: Relay, request: Request, owner: str, *wanted: str) -> UploadForm:
    """Read the whole form and return its part `file` and the fields named in `wanted`.

    Raises InvalidRequestError, TooLargeError and UnsupportedMediaTypeError. Nothing is kept after an error.
    """
    parts = FormParser(request.headers.get("content-type", ""))
    if int(request.headers.get("content-length", "0")) > relay.settings.relay_max_upload_bytes + ENVELOPE:
        raise _too_large(relay)
    form = UploadForm()
    try:
        async for data in request.stream():
            for part, piece in parts.feed(data):
                await _take(relay, form, part, piece, owner, wanted)
        parts.end()
        if form.incoming:
            await form.incoming.finish()
    except BaseException:
        await discard_form(relay, form)
        raise
    return form


async def discard_form(relay: Relay, form: UploadForm) -> None:
    """Remove the file of the form, unless it is complete."""
    if form.incoming:
        file_id = form.incoming.row.id
        await relay.db.write(lambda session: files.remove_incomplete(session, file_id))


async def _take(
    relay: Relay, form: UploadForm, part: Part, piece: bytes, owner: str, wanted: tuple[str, ...]
) -> None:
    if part.name == "file":
        if not piece and form.incoming:
            raise InvalidRequestError("one file at a time", problems=(("file.file", "given more than once"),))
        form.incoming = form.incoming or IncomingFile(relay, owner, part.filename)
        await form.incoming.take(piece)
    elif part.name in wanted:
        value = form.fields.get(part.name, b"") + piece
        if len(value) > MAX_FIELD:
            raise TooLargeError(f"the part `{part.name}` is over {MAX_FIELD} bytes")
        form.fields[part.name] = value


def _too_large(relay: Relay) -> InvalidRequestError:
    """Return an error with status 400, which Soniox uses for a file that is too large."""
    text = f"the file is larger than {relay.settings.relay_max_upload_bytes} bytes"
    return InvalidRequestError(text, problems=(("file.file", text),))


def _safe(filename: str | None) -> str:
    """Return the name without unprintable characters, at most MAX_NAME long, or `audio` if it is empty."""
    return "".join(char for char in filename or "" if char.isprintable())[:MAX_NAME] or "audio"
