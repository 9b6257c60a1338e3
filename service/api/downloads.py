"""Names of the files that a transcript is saved as."""

import re
from pathlib import PurePosixPath
from urllib.parse import quote

from service.transcripts.formats import Format

SUFFIXES: dict[Format, str] = {"srt": ".srt", "vtt": ".vtt", "csv": ".csv", "text": ".txt"}
"""Of the formats that people save; the others are for programs."""

LONGEST = 150  # characters; file systems take 255 bytes


def disposition(recording: str, fmt: Format) -> dict[str, str]:
    """The Content-Disposition header that names the file after the recording (RFC 6266), or no header.

    Text is shown by a browser, the others are saved.
    """
    if fmt not in SUFFIXES:
        return {}
    name = _stem(recording) + SUFFIXES[fmt]
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", name)
    kind = "inline" if fmt == "text" else "attachment"
    return {"Content-Disposition": f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"}


def _stem(recording: str) -> str:
    """The recording's name without folders, its suffix, and what no file name may contain."""
    stem = PurePosixPath(recording.replace("\\", "/")).stem
    return re.sub(r'[\x00-\x1f\x7f<>:"|?*]', "_", stem).strip(" .")[:LONGEST] or "transcript"
