"""What a caller may ask for: Soniox's request, checked at the door, unknown fields kept. Pure."""

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from service.errors import InvalidRequest

HTTP_URL = r"^https?://[^\s]+$"
HEADER_NAME = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"
HEADER_VALUE = r"^[\x20-\x7e]*$"
LARGEST_METADATA = 16 * 1024  # bytes of JSON
LONGEST_CONTEXT = 10_000  # characters; Soniox counts 8,000 tokens
OURS = ("metadata", "webhook_url", "webhook_auth_header_name", "webhook_auth_header_value")

_CODES = (
    "af sq ar az eu be bn bs bg ca zh hr cs da nl en et fi fr gl de el gu he hi hu id it ja kn kk ko lv "
    "lt mk ms ml mr no fa pl pt pa ro ru sr sk sl es sw sv tl ta te th tr uk ur vi cy"
)
LANGUAGES = frozenset(_CODES.split())

# The relay or HTTP itself sets these.
FORBIDDEN_HEADERS = frozenset(
    {"host", "content-length", "content-type", "transfer-encoding", "connection", "upgrade", "te", "trailer"}
)


class Translation(BaseModel):
    """One target, or two languages into each other."""

    model_config = ConfigDict(extra="allow", strict=True)
    type: Literal["one_way", "two_way"]
    target_language: str | None = None
    language_a: str | None = None
    language_b: str | None = None

    @model_validator(mode="after")
    def _names_its_languages(self) -> "Translation":
        needed = ("target_language",) if self.type == "one_way" else ("language_a", "language_b")
        for name in needed:
            if getattr(self, name) not in LANGUAGES:
                raise ValueError(f"{self.type} needs `{name}`, a language code such as `en`")
        if self.type == "two_way" and self.language_a == self.language_b:
            raise ValueError("`language_a` and `language_b` must differ")
        return self


class Submission(BaseModel):
    """The body of POST /v1/transcriptions. Types are strict, as they are at Soniox."""

    model_config = ConfigDict(extra="allow", strict=True)
    model: str = Field(min_length=1, max_length=32)
    audio_url: str | None = Field(None, max_length=4096, pattern=HTTP_URL)
    file_id: str | None = Field(None, pattern=r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")
    language_hints: Annotated[list[str], Field(max_length=100)] | None = None
    language_hints_strict: bool | None = None
    enable_speaker_diarization: bool | None = None
    enable_language_identification: bool | None = None
    translation: Translation | None = None
    context: dict[str, Any] | str | None = None
    webhook_url: str | None = Field(None, max_length=256, pattern=HTTP_URL)
    webhook_auth_header_name: str | None = Field(None, max_length=256, pattern=HEADER_NAME)
    webhook_auth_header_value: str | None = Field(None, max_length=256, pattern=HEADER_VALUE)
    client_reference_id: str | None = Field(None, max_length=256)
    metadata: dict[str, Any] | None = None

    @field_validator("language_hints")
    @classmethod
    def _hints_are_known_and_unique(cls, hints: list[str] | None) -> list[str] | None:
        for hint in hints or []:
            if hint not in LANGUAGES:
                raise ValueError(f"`{hint[:10]}` is not a language code that Soniox transcribes")
        if hints and len(set(hints)) < len(hints):
            raise ValueError("each language may be named once")
        return hints

    @field_validator("context")
    @classmethod
    def _context_is_short(cls, context: dict[str, Any] | str | None) -> dict[str, Any] | str | None:
        text = context if isinstance(context, str) else msgspec.json.encode(context).decode() if context else ""
        if len(text) > LONGEST_CONTEXT:
            raise ValueError(f"the context has {len(text)} characters; at most {LONGEST_CONTEXT} are allowed")
        return context

    @field_validator("metadata")
    @classmethod
    def _metadata_is_small(cls, metadata: dict[str, Any] | None) -> dict[str, Any] | None:
        if metadata is not None and len(msgspec.json.encode(metadata)) > LARGEST_METADATA:
            raise ValueError(f"metadata is over {LARGEST_METADATA} bytes of JSON")
        return metadata

    @field_validator("audio_url", "webhook_url")
    @classmethod
    def _has_a_host(cls, url: str | None) -> str | None:
        if url is not None and not urlsplit(url).hostname:
            raise ValueError("the URL has no host")
        return url

    @field_validator("webhook_auth_header_name")
    @classmethod
    def _header_is_free(cls, name: str | None) -> str | None:
        if name and (name.lower() in FORBIDDEN_HEADERS or name.lower().startswith("webhook-")):
            raise ValueError("this header is set by the relay itself")
        return name

    @model_validator(mode="after")
    def _header_is_whole(self) -> "Submission":
        if bool(self.webhook_auth_header_name) != bool(self.webhook_auth_header_value):
            raise ValueError("webhook_auth_header_name and webhook_auth_header_value go together")
        return self

    def soniox_fields(self) -> dict[str, Any]:
        """What is passed on: the fields as they came, unknown ones included, without those the relay keeps."""
        given = self.model_dump(exclude_unset=True)
        return {name: value for name, value in given.items() if name not in OURS and value is not None}

    def filename(self) -> str:
        """What Soniox calls the audio behind a URL."""
        return urlsplit(self.audio_url or "").path.rsplit("/", 1)[-1] or "audio"


def parse_submission(body: bytes, *, brings_file: bool) -> Submission:
    """Check one request. `brings_file`: the audio is in the same call. Raises InvalidRequest with all mistakes."""
    try:
        submission = Submission.model_validate_json(body)
    except ValidationError as error:
        raise _explained(error) from None
    sources = [submission.audio_url is not None, submission.file_id is not None, brings_file]
    if sum(sources) != 1:
        message = (
            "Expected audio_url or file_id but not both" if sum(sources) > 1 else "Expected audio_url or file_id"
        )
        raise InvalidRequest(message, problems=(("body.payload", message),))
    return submission


def _explained(error: ValidationError) -> InvalidRequest:
    details = error.errors(include_input=False, include_url=False, include_context=False)
    problems = tuple((_location(item["loc"]), str(item["msg"]).removeprefix("Value error, ")) for item in details)
    return InvalidRequest("Invalid request: " + "; ".join(text for _, text in problems)[:500], problems=problems)


def _location(path: tuple[int | str, ...]) -> str:
    return ".".join(["body", "payload", *(str(part) for part in path)])
