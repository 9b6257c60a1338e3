"""Scripts and styles from our own disk. Each address holds a hash of the content, so it may be kept for ever."""

import hashlib
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from mimetypes import guess_type
from typing import NamedTuple

FOLDERS = ("", "vendor/")
SERVED = (".js", ".css", ".svg")


class Asset(NamedTuple):
    """A file as it is served."""

    content: bytes
    kind: str
    digest: str


@cache
def assets() -> dict[str, Asset]:
    """All of them by name, such as `vendor/htmx-4.0.1.min.js`."""
    root = files("service.dashboard") / "static"
    return {
        prefix + file.name: _read(file)
        for prefix in FOLDERS
        for file in (root / prefix).iterdir()
        if file.name.endswith(SERVED)
    }


def asset_url(name: str) -> str:
    """Where a page finds it."""
    return f"/ui/static/{assets()[name].digest}/{name}"


def _read(file: Traversable) -> Asset:
    content = file.read_bytes()
    kind, _ = guess_type(file.name)
    return Asset(content, kind or "application/octet-stream", hashlib.sha256(content).hexdigest()[:12])
