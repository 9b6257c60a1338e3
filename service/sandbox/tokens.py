"""The script of a job, which sets its outcome, and the tokens of its transcript.

A client writes directives in the `client_reference_id`, the `audio_url` (any part of it) or the file name,
separated by whitespace or any of `; , & ? / # |`. Other text is ignored. When two places disagree, the first in
this order wins.

    outcome=empty               completes with no text and no tokens
    outcome=error:TYPE          fails with that error_type, such as outcome=error:invalid_audio_file
    tokens=500                  number of tokens (recognise="script" only, as are the next two)
    speakers=2                  number of alternating speakers, when diarization is enabled
    translation=zeros           times of translation tokens: zeros (0/0), null, or absent (no such keys)
    processing_ms=2000          minimum time in processing
    stuck                       never leaves processing
    vanish                      is deleted instead of finishing, without a webhook

Example: `https://sandbox.invalid/tokens=500/speakers=2`.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, cast
from urllib.parse import unquote
from zlib import crc32

from service.sandbox.schemas import CreateTranscription

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
    """Parse the directives. A suffix after a dot is allowed, so that a file can be named `tokens=500.wav`."""
    matches = (_DIRECTIVE.fullmatch(word) for word in _SEPARATORS.split(place))
    found = [[group for group in match.groups() if group] for match in matches if match]
    return {groups[0]: groups[-1] for groups in found}


Token = dict[str, Any]

TOKEN_MS = 240  # 250 tokens per minute, about the rate of Soniox's transcripts
NOMINAL_SPAN_MS = 60
SUB_WORD_LETTERS = 4

# Invented sentences, split into tokens as a recogniser might split them.
SENTENCES = [
    sentence.split("|")
    for sentence in (
        " The| la|dder| stood| in| the| gar|den| all| win|ter.",
        " No|bo|dy| asked| who| had| left| it| there,| or| why.",
        " In| March| a| robin| built| her| nest| on| the| top|most| rung.",
        " So| we| picked| the| app|les| with| a| chair| that| year.",
    )
]
TRANSLATED = [" La", " esca", "lera", " del", " jar", "dín."]


@dataclass(frozen=True)
class ScriptWord:
    text: str
    start_ms: int
    end_ms: int
    confidence: float


def transcript(tokens: list[Token]) -> dict[str, Any]:
    """Return the transcript object. `text` omits translations; Soniox documents neither way."""
    said = "".join(token["text"] for token in tokens if token["translation_status"] != "translation")
    return {"text": said, "tokens": tokens}


def tokens_of_words(words: Iterable[ScriptWord], request: CreateTranscription) -> list[Token]:
    """Convert recognised words to tokens. The recogniser knows one speaker and one language only."""
    pieces = [piece for index, word in enumerate(words) for piece in _sub_words(word, first=index == 0)]
    return [
        _token(
            piece.text,
            (piece.start_ms, piece.end_ms),
            piece.confidence,
            speaker="1" if request.enable_speaker_diarization else None,
            language="en" if _names_languages(request) else None,
            translation_status="none" if request.translation else None,
        )
        for piece in pieces
    ]


def _sub_words(word: ScriptWord, *, first: bool) -> Iterator[ScriptWord]:
    """Split a long word into pieces, each with its share of the word's time."""
    size = SUB_WORD_LETTERS if len(word.text) > SUB_WORD_LETTERS + 1 else len(word.text)
    per_letter = (word.end_ms - word.start_ms) / len(word.text)
    for at in range(0, len(word.text), size):
        text = word.text[at : at + size]
        start = word.start_ms + round(at * per_letter)
        end = word.start_ms + round((at + len(text)) * per_letter)
        yield ScriptWord(text if first or at else " " + text, start, end, word.confidence)


def scripted_tokens(script: Script, request: CreateTranscription) -> list[Token]:
    translation = request.translation
    languages: tuple[str | None, str | None] = (None, None)
    if translation and translation.type == "two_way":
        languages = (translation.language_a, translation.language_b)
    elif _names_languages(request):
        spoken = (request.language_hints or ["en"])[0]
        languages = (spoken, translation.target_language if translation else None)
    return list(
        _made_up(
            script.tokens,
            crc32(script.subject.encode()) % len(SENTENCES),
            script.speakers if request.enable_speaker_diarization else 0,
            languages,
            translation.type if translation else None,
            script.translation,
        )
    )


@lru_cache(maxsize=32)
def _made_up(
    total: int,
    first_sentence: int,
    speakers: int,
    languages: tuple[str | None, str | None],
    translation: str | None,
    times: TranslationTimes,
) -> Sequence[Token]:
    tokens: list[Token] = []
    said = turn = 0
    while said < total:
        spoken, other = languages
        if translation == "two_way" and turn % 2:
            spoken, other = other, spoken
        pieces = SENTENCES[(first_sentence + turn) % len(SENTENCES)][: total - said]
        speaker = str(turn % speakers + 1) if speakers else None
        tokens += _said(pieces, said, speaker, spoken, "original" if translation else None)
        if translation:
            tokens += _translated(times, speaker, spoken, other)
        said, turn = said + len(pieces), turn + 1
    return tokens


def _said(
    pieces: list[str], offset: int, speaker: str | None, language: str | None, status: str | None
) -> Iterator[Token]:
    for index, piece in enumerate(pieces, offset):
        start = 30 + index * TOKEN_MS
        confidence = 1 - (crc32(f"{piece}{index}".encode()) % 10_000) / 100_000
        yield _token(
            piece if index else piece.lstrip(),
            (start, start + NOMINAL_SPAN_MS),
            confidence,
            speaker=speaker,
            language=language,
            translation_status=status,
        )


def _translated(
    times: TranslationTimes, speaker: str | None, spoken: str | None, target: str | None
) -> Iterator[Token]:
    span = (0, 0) if times == "zeros" else (None, None)
    for piece in TRANSLATED:
        token = _token(piece, span, 0.97, speaker=speaker, language=target, translation_status="translation")
        if times == "absent":
            del token["start_ms"], token["end_ms"]
        yield token | {"source_language": spoken}


def _token(
    text: str,
    span: tuple[int | None, int | None],
    confidence: float,
    *,
    speaker: str | None,
    language: str | None,
    translation_status: str | None,
) -> Token:
    return {
        "text": text,
        "start_ms": span[0],
        "end_ms": span[1],
        "confidence": confidence,
        "speaker": speaker,
        "language": language,
        "is_audio_event": None,
        "translation_status": translation_status,
    }


def _names_languages(request: CreateTranscription) -> bool:
    return bool(request.enable_language_identification or request.translation)
