"""One file as multipart/form-data, streamed: the body is never in memory as a whole, its length is known."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Upload:
    """A file to be sent. `chunks` opens its bytes anew on every call, so that a try can be repeated."""

    filename: str
    size: int
    reference: str
    chunks: Callable[[], AsyncIterator[bytes]]


BOUNDARY = "soniox-relay-5b0f4c1e9a"


def encode(upload: Upload) -> tuple[dict[str, str], AsyncIterator[bytes]]:
    """Headers and body of the request."""
    head = _field("client_reference_id", upload.reference) + _file_head(upload.filename)
    tail = f"\r\n--{BOUNDARY}--\r\n".encode()
    headers = {
        "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
        "Content-Length": str(len(head) + upload.size + len(tail)),
    }
    return headers, _body(head, upload, tail)


async def _body(head: bytes, upload: Upload, tail: bytes) -> AsyncIterator[bytes]:
    yield head
    async for chunk in upload.chunks():
        yield chunk
    yield tail


def _field(name: str, value: str) -> bytes:
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()


def _file_head(filename: str) -> bytes:
    escaped = filename.replace("\\", "\\\\").replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    disposition = f'Content-Disposition: form-data; name="file"; filename="{escaped}"'
    return f"--{BOUNDARY}\r\n{disposition}\r\nContent-Type: application/octet-stream\r\n\r\n".encode()
