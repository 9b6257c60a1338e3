"""The body of a transcription request. Soniox's fields are validated, and unknown fields are kept."""

import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import httpx
import msgspec
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from service.downstream.messages import header_mistakes
from service.errors import InvalidRequestError

MAX_CONTEXT = 10_000  # characters; Soniox counts 8,000 tokens
BRANCHES = frozenset({"one_way", "two_way", "plain", "structured"})  # tags of unions, not part of a location

_CODES = (
    "af sq ar az eu be bn bs bg ca zh hr cs da nl en et fi fr gl de el gu he hi hu id it ja kn kk ko lv "
    "lt mk ms ml mr no fa pl pt pa ro ru sr sk sl es sw sv tl ta te th tr uk ur vi cy"
)
LANGUAGES = frozenset(_CODES.split())


def _known_language(code: str) -> str:
    if code not in LANGUAGES:
        raise ValueError(f"`{code[:10]}` is not the code of a language that Soniox transcribes")
    return code


Language = Annotated[
    str, AfterValidator(_known_language), WithJsonSchema({"type": "string", "enum": sorted(LANGUAGES)})
]


class LenientModel(BaseModel):
    """Types are strict, as they are at Soniox; fields we do not know are kept."""

    model_config = ConfigDict(extra="allow", strict=True)


class OneWayTranslation(LenientModel):
    """All speech into one language."""

    type: Literal["one_way"]
    target_language: Language


class TwoWayTranslation(LenientModel):
    """Two languages into each other."""

    type: Literal["two_way"]
    language_a: Language
    language_b: Language

    @model_validator(mode="after")
    def _languages_differ(self) -> "TwoWayTranslation":
        if self.language_a == self.language_b:
            raise ValueError("`language_a` and `language_b` must differ")
        return self


class ContextItem(LenientModel):
    """Something Soniox should know of the recording, such as its domain."""

    key: str
    value: str


class ContextTranslation(LenientModel):
    """How one term is to be translated."""

    source: str
    target: str


class Context(LenientModel):
    """What helps to recognise and translate."""

    general: list[ContextItem] | None = None
    text: str | None = None
    terms: list[str] | None = None
    translation_terms: list[ContextTranslation] | None = None


def _kind_of_context(value: Any) -> str:
    return "plain" if isinstance(value, str) else "structured"


PlainContext = Annotated[str, Field(max_length=MAX_CONTEXT)]
AnyContext = Annotated[
    Annotated[Context, Tag("structured")] | Annotated[PlainContext, Tag("plain")], Discriminator(_kind_of_context)
]

Translation = Annotated[OneWayTranslation | TwoWayTranslation, Field(discriminator="type")]

HTTP_URL = r"^https?://[^\s\x00-\x1f\x7f]+$"
HEADER_NAME = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"
HEADER_VALUE = r"^[\x20-\x7e]*$"
FILE_ID = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
MAX_METADATA = 16 * 1024  # bytes of JSON
MAX_PROBLEMS = 50  # reported in one response
EXAMPLE = {
    "model": "stt-async-v5",
    "audio_url": "https://media.example.com/calls/1041.mp3",
    "language_hints": ["en", "de"],
    "enable_speaker_diarization": True,
    "client_reference_id": "call-1041",
    "metadata": {"tenant": "north"},
}
RELAY_FIELDS = ("metadata", "webhook_url", "webhook_auth_header_name", "webhook_auth_header_value")


class Submission(LenientModel):
    """The body of POST /v1/transcriptions."""

    model: str = Field(min_length=1, max_length=32, description="One of GET /v1/models, such as stt-async-v5.")
    audio_url: str | None = Field(None, max_length=4096, pattern=HTTP_URL)
    file_id: str | None = Field(None, pattern=FILE_ID, description="Of POST /v1/files, or of a file at Soniox.")
    language_hints: list[Language] | None = Field(None, max_length=100, json_schema_extra={"uniqueItems": True})
    language_hints_strict: bool | None = None
    enable_speaker_diarization: bool | None = None
    enable_language_identification: bool | None = None
    translation: Translation | None = None
    context: AnyContext | None = None
    webhook_url: str | None = Field(None, max_length=256, pattern=HTTP_URL, description="Your own callback.")
    webhook_auth_header_name: str | None = Field(None, max_length=256, pattern=HEADER_NAME)
    webhook_auth_header_value: str | None = Field(None, min_length=1, max_length=256, pattern=HEADER_VALUE)
    client_reference_id: str | None = Field(None, max_length=256)
    metadata: dict[str, Any] | None = Field(None, description="Returned and forwarded; at most 16 KiB of JSON.")

    @field_validator("language_hints")
    @classmethod
    def _hints_are_unique(cls, hints: list[str] | None) -> list[str] | None:
        if hints and len(set(hints)) < len(hints):
            raise ValueError("each language may be named once")
        return hints

    @field_validator("context")
    @classmethod
    def _context_is_short(cls, context: Context | str | None) -> Context | str | None:
        length = len(context.model_dump_json(exclude_none=True)) if isinstance(context, Context) else 0
        if length > MAX_CONTEXT:
            raise ValueError(f"the context has {length} characters; at most {MAX_CONTEXT} are allowed")
        return context

    @field_validator("metadata")
    @classmethod
    def _metadata_is_small(cls, metadata: dict[str, Any] | None) -> dict[str, Any] | None:
        if metadata is not None and len(msgspec.json.encode(metadata)) > MAX_METADATA:
            raise ValueError(f"metadata is over {MAX_METADATA} bytes of JSON")
        return metadata

    @field_validator("audio_url", "webhook_url")
    @classmethod
    def _has_a_host(cls, url: str | None) -> str | None:
        if url is not None and not urlsplit(url).hostname:
            raise ValueError("the URL has no host")
        return url

    @field_validator("webhook_url")
    @classmethod
    def _can_be_called(cls, url: str | None) -> str | None:
        try:
            httpx.URL(url or "")
        except httpx.InvalidURL:
            raise ValueError("this is not a URL that can be called") from None
        return url

    @field_validator("webhook_auth_header_name")
    @classmethod
    def _header_is_free(cls, name: str | None) -> str | None:
        if name and (mistakes := header_mistakes({name: "x"})):
            raise ValueError(mistakes[0])
        return name

    @model_validator(mode="after")
    def _header_is_whole(self) -> "Submission":
        if bool(self.webhook_auth_header_name) != bool(self.webhook_auth_header_value):
            raise ValueError("webhook_auth_header_name and webhook_auth_header_value go together")
        return self

    def soniox_fields(self) -> dict[str, Any]:
        """Return the fields for Soniox unchanged, including unknown ones, without RELAY_FIELDS and nulls."""
        given = self.model_dump(exclude_unset=True)
        return {name: value for name, value in given.items() if name not in RELAY_FIELDS and value is not None}

    def filename(self) -> str:
        """Return the filename that Soniox gives the audio of a URL."""
        return urlsplit(self.audio_url or "").path.rsplit("/", 1)[-1] or "audio"


def parse_submission(body: bytes, *, brings_file: bool) -> Submission:
    """Parse and validate a request body.

    `brings_file` is True if the same request contains the audio. Raises InvalidRequestError, with at most
    MAX_PROBLEMS problems.
    """
    try:
        submission = Submission.model_validate_json(body)
    except ValidationError as error:
        raise _explained(error) from None
    if _may_have_nul(body):
        _check_storable(submission)
    sources = [submission.audio_url is not None, submission.file_id is not None, brings_file]
    if sum(sources) != 1:
        text = (
            "Expected audio_url or file_id but not both" if sum(sources) > 1 else "Expected audio_url or file_id"
        )
        raise InvalidRequestError(text, problems=(("body.payload", text),))
    return submission


def check_model(submission: Submission, known: frozenset[str]) -> None:
    """Raise InvalidRequestError for a model that is not in `known`, Soniox's list.

    If `known` is empty, the list is not available and every model is allowed.
    """
    if known and submission.model not in known:
        text = f"`{submission.model}` is no model for async transcription; there are {', '.join(sorted(known))}"
        raise InvalidRequestError(f"Invalid request: {text}", problems=(("body.payload.model", text),))


def _may_have_nul(body: bytes) -> bool:
    """Check quickly for NUL, NaN and infinity. False positives are possible, false negatives are not."""
    try:
        msgspec.json.decode(body)
    except msgspec.MsgspecError:
        return True
    return rb"\u0000" in body


def _check_storable(submission: Submission) -> None:
    found = _unstorable_paths(submission.model_dump(exclude_unset=True))
    if problems := tuple((_location(path), text) for path, text in found):
        raise _refusal(problems[:MAX_PROBLEMS])


def _unstorable_paths(value: Any) -> Iterator[tuple[tuple[int | str, ...], str]]:
    """Yield path and message of values that parse but cannot be stored: NUL, NaN, infinities."""
    if isinstance(value, str) and "\0" in value:
        yield (), "a NUL character is not allowed"
    elif isinstance(value, float) and not math.isfinite(value):
        yield (), "the number is too large, or none at all"
    elif isinstance(value, dict | list):
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            for path, text in (*_unstorable_paths(name), *_unstorable_paths(item)):
                yield (name, *path), text


def _explained(error: ValidationError) -> InvalidRequestError:
    details = error.errors(include_input=False, include_url=False, include_context=False)
    return _refusal(
        tuple((_location(item["loc"]), _words(item["msg"]), item["type"]) for item in details[:MAX_PROBLEMS])
    )


def _refusal(problems: tuple[tuple[str, str] | tuple[str, str, str], ...]) -> InvalidRequestError:
    return InvalidRequestError(
        "Invalid request: " + "; ".join(text for _, text, *_ in problems)[:500], problems=problems
    )


def _words(message: str) -> str:
    return message.removeprefix("Value error, ")


def _location(path: tuple[int | str, ...]) -> str:
    return ".".join(["body", "payload", *(str(part) for part in path if part not in BRANCHES)])
