"""Files on their way in: from the socket into the database, piece by piece, in constant memory.

The file row comes first and is not complete: nobody else sees it. Whoever receives a form ends it with
`files.complete`, or with `forget` when it is not wanted after all; a process that dies in between leaves an
incomplete row, which `files.remove_unfinished` sweeps.
"""

import hashlib
from dataclasses import dataclass, field

from sqlmodel import Session
from starlette.requests import Request

from service.api.multipart import Part, Parts
from service.errors import InvalidRequest, TooLarge
from service.ids import new_uuid
from service.relay import Relay
from service.store import files
from service.tables import File, FileChunk

PIECE = 1024 * 1024  # bytes of one stored chunk
LARGEST_FIELD = 256 * 1024  # bytes of a part that is not the file
ENVELOPE = 1024 * 1024  # bytes of a form around its file
LONGEST_NAME = 255


class Incoming:
    """One file while it arrives."""

    def __init__(self, relay: Relay, owner: str, filename: str | None) -> None:
        now_ms = relay.clock()
        self.row = File(id=new_uuid(now_ms), owner=owner, filename=_safe(filename), size=0, created_at_ms=now_ms)
        self._relay = relay
        self._digest = hashlib.sha256()
        self._pending = bytearray()
        self._stored = 0  # pieces

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes so far, in hex."""
        return self._digest.hexdigest()

    async def take(self, data: bytes) -> None:
        """Keep the next bytes. Raises InvalidRequest when they are too many."""
        self.row.size += len(data)
        if self.row.size > self._relay.settings.relay_max_upload_bytes:
            raise _too_large(self._relay)
        self._digest.update(data)
        self._pending += data
        while len(self._pending) >= PIECE:
            await self._store(PIECE)

    async def finish(self) -> None:
        """Store the rest; an empty file has one empty piece."""
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
class Form:
    """What came: the fields that were wanted, and the file."""

    fields: dict[str, bytes] = field(default_factory=dict)
    incoming: Incoming | None = None

    @property
    def file(self) -> Incoming:
        """The file. Raises InvalidRequest when there was none."""
        if self.incoming is None:
            raise InvalidRequest(
                "the part `file` is missing", problems=(("file.file", "Field required", "missing"),)
            )
        return self.incoming


async def receive_form(relay: Relay, request: Request, owner: str, *wanted: str) -> Form:
    """Read the whole form, its part `file` and the fields named in `wanted`.

    Raises InvalidRequest, TooLarge and UnsupportedMediaType, with nothing kept.
    """
    parts = Parts(request.headers.get("content-type", ""))
    if int(request.headers.get("content-length", "0")) > relay.settings.relay_max_upload_bytes + ENVELOPE:
        raise _too_large(relay)
    form = Form()
    try:
        async for data in request.stream():
            for part, piece in parts.feed(data):
                await _take(relay, form, part, piece, owner, wanted)
        parts.end()
        if form.incoming:
            await form.incoming.finish()
    except BaseException:
        await forget(relay, form)
        raise
    return form


async def forget(relay: Relay, form: Form) -> None:
    """Remove a file that nobody completed."""
    if form.incoming:
        file_id = form.incoming.row.id
        await relay.db.write(lambda session: files.remove_incomplete(session, file_id))


async def _take(relay: Relay, form: Form, part: Part, piece: bytes, owner: str, wanted: tuple[str, ...]) -> None:
    if part.name == "file":
        if not piece and form.incoming:
            raise InvalidRequest("one file at a time", problems=(("file.file", "given more than once"),))
        form.incoming = form.incoming or Incoming(relay, owner, part.filename)
        await form.incoming.take(piece)
    elif part.name in wanted:
        value = form.fields.get(part.name, b"") + piece
        if len(value) > LARGEST_FIELD:
            raise TooLarge(f"the part `{part.name}` is over {LARGEST_FIELD} bytes")
        form.fields[part.name] = value


def _too_large(relay: Relay) -> InvalidRequest:
    """400, as Soniox answers it."""
    text = f"the file is larger than {relay.settings.relay_max_upload_bytes} bytes"
    return InvalidRequest(text, problems=(("file.file", text),))


def _safe(filename: str | None) -> str:
    """The name without what no database, log or header should carry."""
    return "".join(char for char in filename or "" if char.isprintable())[:LONGEST_NAME] or "audio"
