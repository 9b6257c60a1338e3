"""The packaged recording: a synthetic sentence that the sandbox recognises word for word (see HOW.md)."""

from pathlib import Path

_FOLDER = Path(__file__).parent


def recording_path() -> Path:
    return _FOLDER / "recording.wav"


def recording_text() -> str:
    return (_FOLDER / "recording.txt").read_text(encoding="utf-8").strip()
