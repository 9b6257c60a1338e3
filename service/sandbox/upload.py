"""Stream a multipart upload to disk, so that large files do not use memory."""

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.sandbox.schemas import ApiError, detail, invalid_request

REFERENCE_CHARS = 256
ENVELOPE_BYTES = 64 * 1024  # boundaries, headers and the other field


@dataclass
class ReceivedUpload:
    filename: str
    size: int
    client_reference_id: str | None


async def receive_upload(request: Request, path: Path, most: int) -> ReceivedUpload:
    """Write the upload to `path`, at most `most` bytes. Raises ApiError.

    Any failure, including a client that disconnects, deletes the file.
    """
    if int(request.headers.get("content-length", 0)) > most + ENVELOPE_BYTES:
        raise _too_large(most)
    try:
        with path.open("wb") as out:
            form = _Form(_boundary(request), out, most)
            async for chunk in request.stream():
                form.feed(chunk)
            return form.finish()
    except BaseException:
        path.unlink(missing_ok=True)  # noqa: ASYNC240 - unlink is fast
        raise


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise _missing_file()
    return options[b"boundary"]


class _Form:
    """A multipart form: writes `file` to disk, keeps `client_reference_id` in memory and skips other parts."""

    def __init__(self, boundary: bytes, out: BinaryIO, most: int) -> None:
        self._out = out
        self._most = most
        self._size = 0
        self._part = b""
        self._filename: str | None = None
        self._reference = bytearray()
        self._has_reference = False
        self._ended = False
        self._header, self._value = bytearray(), bytearray()
        self._parser = MultipartParser(
            boundary,
            {
                "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                "on_header_end": self._end_header,
                "on_part_data": self._take,
                "on_end": self._end,
            },
        )

    def feed(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise _malformed() from None

    def finish(self) -> ReceivedUpload:
        if not self._ended:
            raise _malformed()
        if self._filename is None:
            raise _missing_file()
        reference = self._reference.decode(errors="replace") if self._has_reference else None
        if reference and len(reference) > REFERENCE_CHARS:
            location = "body.client_reference_id"
            raise invalid_request("Invalid request.", detail("string_too_long", location, "Too long"))
        return ReceivedUpload(self._filename, self._size, reference)

    def _end_header(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._value))
            self._part = options.get(b"name", b"")
            self._has_reference |= self._part == b"client_reference_id"
            if self._part == b"file" and b"filename" in options:
                self._filename = options[b"filename"].decode(errors="replace")
        self._header.clear()
        self._value.clear()

    def _end(self) -> None:
        self._ended = True

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._part == b"file":
            self._size += end - start
            if self._size > self._most:
                raise _too_large(self._most)
            self._out.write(data[start:end])
        elif self._part == b"client_reference_id" and len(self._reference) <= 4 * REFERENCE_CHARS:
            self._reference += data[start:end]


def _malformed() -> ApiError:
    return invalid_request("Invalid request: malformed multipart body.")


def _missing_file() -> ApiError:
    return invalid_request("Invalid request.", detail("missing", "file.file", "Field required"))


def _too_large(most: int) -> ApiError:
    return invalid_request(f"Exceeded maximum file size (maximum is {most} bytes).")
