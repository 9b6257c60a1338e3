"""The script of a job: what its client wants to happen to it, written where a client can write.

Directives stand in the `client_reference_id`, in the `audio_url` (any part of it) or in the file's name, between
any of space `; , & ? / # |`. Anything else there is ignored; where two places disagree, the first named wins.

    outcome=empty               completes with no text and no tokens
    outcome=error:TYPE          fails with that error_type, such as outcome=error:invalid_audio_file
    tokens=500                  so many tokens (recognise="script" only, as are the next two)
    speakers=2                  so many speakers take turns, when diarization was asked for
    translation=zeros           times of translation tokens: zeros (0/0), null, or absent (no such keys)
    processing_ms=2000          at least so long in processing
    stuck                       never leaves processing
    vanish                      disappears instead of finishing, without a webhook

Example: `https://sandbox.invalid/tokens=500/speakers=2`.
"""

import re
from dataclasses import dataclass
from typing import Literal, cast
from urllib.parse import unquote

TranslationTimes = Literal["zeros", "null", "absent"]

_SEPARATORS = re.compile(r"[\s;,&?/#|]+")
_DIRECTIVE = re.compile(
    r"(?:(outcome)=(empty|error:\w+)|(tokens|speakers|processing_ms)=(\d{1,7})"
    r"|(translation)=(zeros|null|absent)|(stuck)|(vanish))(?:\.\w+)?"
)


@dataclass(frozen=True)
class Script:
    subject: str = ""
    empty: bool = False
    error_type: str | None = None
    tokens: int = 20
    speakers: int = 1
    translation: TranslationTimes = "zeros"
    processing_ms: int = 0
    stuck: bool = False
    vanish: bool = False


def scripted(client_reference_id: str | None, audio_url: str | None, filename: str) -> Script:
    places = [client_reference_id or "", unquote(audio_url or ""), filename]
    directives: dict[str, str] = {}
    for place in reversed(places):
        directives |= _directives(place)
    outcome = directives.get("outcome", "")
    return Script(
        subject="|".join(places),
        empty=outcome == "empty",
        error_type=outcome.removeprefix("error:") if outcome.startswith("error:") else None,
        tokens=int(directives.get("tokens", 20)),
        speakers=max(1, int(directives.get("speakers", 1))),
        translation=cast(TranslationTimes, directives.get("translation", "zeros")),
        processing_ms=int(directives.get("processing_ms", 0)),
        stuck="stuck" in directives,
        vanish="vanish" in directives,
    )


def _directives(place: str) -> dict[str, str]:
    """A suffix after a dot is allowed, so that a file can be named `tokens=500.wav`."""
    matches = (_DIRECTIVE.fullmatch(word) for word in _SEPARATORS.split(place))
    found = [[group for group in match.groups() if group] for match in matches if match]
    return {groups[0]: groups[-1] for groups in found}
