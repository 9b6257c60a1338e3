"""What a client may send: the create request as Soniox's schema has it, and the checks of ids and pages."""

from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator

from service.sandbox.errors import SonioxError, detail, invalid_request, refused_by_schema
from service.sandbox.models import ASYNC_MODELS, LANGUAGES

PAGE_LIMIT = 1000


def _known_model(model: str) -> str:
    if model not in ASYNC_MODELS:
        raise ValueError("Invalid model")
    return model


def _known_language(code: str) -> str:
    if code not in LANGUAGES:
        raise ValueError("Invalid language hint")
    return code


def _unique(hints: list[str]) -> list[str]:
    if len(set(hints)) != len(hints):
        raise ValueError("Language hints must be unique")
    return hints


Language = Annotated[str, Field(max_length=10), AfterValidator(_known_language)]
Url = Annotated[str, Field(pattern=r"^https?://[^\s]+$")]
Short = Annotated[str, Field(max_length=256)]


class GeneralItem(BaseModel):
    key: str
    value: str


class TranslationTerm(BaseModel):
    source: str
    target: str


class Context(BaseModel):
    general: list[GeneralItem] | None = None
    text: str | None = None
    terms: list[str] | None = None
    translation_terms: list[TranslationTerm] | None = None


class Translation(BaseModel):
    type: Literal["one_way", "two_way"]
    target_language: Language | None = None
    language_a: Language | None = None
    language_b: Language | None = None

    @model_validator(mode="after")
    def names_its_languages(self) -> Self:
        if self.type == "one_way" and not self.target_language:
            raise ValueError("target_language is required for one_way translation")
        if self.type == "two_way" and not (self.language_a and self.language_b):
            raise ValueError("language_a and language_b are required for two_way translation")
        if self.language_a and self.language_a == self.language_b:
            raise ValueError("language_a and language_b must differ")
        return self


class CreateTranscription(BaseModel):
    model: Annotated[str, Field(max_length=32), AfterValidator(_known_model)]
    audio_url: Annotated[Url, Field(max_length=4096)] | None = None
    file_id: UUID | None = None
    language_hints: Annotated[list[Language], Field(max_length=100), AfterValidator(_unique)] | None = None
    language_hints_strict: bool | None = None
    enable_speaker_diarization: bool | None = None
    enable_language_identification: bool | None = None
    translation: Translation | None = None
    context: Context | str | None = None
    webhook_url: Annotated[Url, Field(max_length=256)] | None = None
    webhook_auth_header_name: Short | None = None
    webhook_auth_header_value: Short | None = None
    client_reference_id: Short | None = None

    @model_validator(mode="after")
    def has_exactly_one_source(self) -> Self:
        if self.audio_url and self.file_id:
            raise ValueError("Expected audio_url or file_id but not both")
        if not self.audio_url and not self.file_id:
            raise ValueError("Expected audio_url or file_id")
        return self

    def context_chars(self) -> int:
        return len(self.context if isinstance(self.context, str) else _spelled(self.context))


def _spelled(context: Context | None) -> str:
    return context.model_dump_json(exclude_none=True) if context else ""


def create_request(body: bytes, max_context_chars: int) -> CreateTranscription:
    try:
        request = CreateTranscription.model_validate_json(body)
    except ValidationError as error:
        raise refused_by_schema(error, "body.payload") from None
    if request.context_chars() > max_context_chars:
        too_long = detail("value_error", "body.payload.context", "Context is too long")
        raise invalid_request("Invalid request.", too_long)
    return request


def page_limit(text: str | None) -> int:
    if text is None:
        return PAGE_LIMIT
    try:
        limit = int(text)
    except ValueError:
        raise _bad_limit("int_parsing", "Input should be a valid integer") from None
    if limit < 1:
        raise _bad_limit("greater_than_equal", "Input should be greater than or equal to 1")
    if limit > PAGE_LIMIT:
        raise _bad_limit("less_than_equal", f"Input should be less than or equal to {PAGE_LIMIT}")
    return limit


def _bad_limit(error_type: str, message: str) -> SonioxError:
    return invalid_request("Invalid request.", detail(error_type, "query.payload.limit", message))


def path_id(text: str, name: str, malformed_status: int, absent: SonioxError) -> str:
    """Soniox's answer to a malformed id is not documented, so its status is a switch."""
    try:
        return str(UUID(text))
    except ValueError:
        if malformed_status == absent.status:
            raise absent from None
    problem = detail("uuid_parsing", f"path.{name}", "Input should be a valid UUID")
    raise SonioxError(malformed_status, "invalid_request", "Invalid request.", [problem])


def as_json(request: CreateTranscription) -> dict[str, Any]:
    return request.model_dump(mode="json")
