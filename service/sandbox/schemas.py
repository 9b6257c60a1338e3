"""Soniox's request models and error body, and one constructor for each error that the sandbox raises."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from service.sandbox.models import ASYNC_MODELS, LANGUAGES

DOCUMENTATION = "https://soniox.com/docs/api-reference/errors"

ERROR_TYPES = {
    400: "invalid_request",
    401: "unauthenticated",
    402: "organization_balance_exhausted",
    403: "permission_denied",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    429: "limit_exceeded",
    503: "service_unavailable",
}


class ApiError(Exception):
    def __init__(
        self, status: int, error_type: str, message: str, validation_errors: Sequence[dict[str, str]] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error_type = error_type
        self.message = message
        self.validation_errors = list(validation_errors)

    def body(self, request_id: str) -> dict[str, Any]:
        return {
            "status_code": self.status,
            "error_type": self.error_type,
            "message": self.message,
            "validation_errors": self.validation_errors,
            "request_id": request_id,
            "more_info": f"{DOCUMENTATION}#{self.error_type.replace('_', '-')}",
        }


def usual_error_type(status: int) -> str:
    return ERROR_TYPES.get(status, "internal_error")


def unauthenticated() -> ApiError:
    return ApiError(401, "unauthenticated", "Incorrect API key provided.")


def file_not_found() -> ApiError:
    return ApiError(404, "file_not_found", "File could not be found.")


def transcription_not_found() -> ApiError:
    return ApiError(404, "transcription_not_found", "Transcription could not be found.")


def invalid_state(message: str) -> ApiError:
    return ApiError(409, "transcription_invalid_state", message)


def invalid_cursor() -> ApiError:
    return ApiError(400, "invalid_cursor", "Invalid cursor parameter.")


def limit_exceeded(message: str) -> ApiError:
    return ApiError(429, "limit_exceeded", message)


def invalid_request(message: str = "Invalid request.", *details: dict[str, str]) -> ApiError:
    return ApiError(400, "invalid_request", message, details)


def detail(error_type: str, location: str, message: str) -> dict[str, str]:
    return {"error_type": error_type, "location": location, "message": message}


def refused_by_schema(error: ValidationError, location: str) -> ApiError:
    """Convert a pydantic error to Soniox's, whose locations are dotted strings."""
    return invalid_request("Invalid request.", *(_described(item, location) for item in error.errors()))


def _described(item: ErrorDetails, location: str) -> dict[str, str]:
    place = ".".join([location, *(str(part) for part in item["loc"])])
    return detail(item["type"], place, item["msg"].removeprefix("Value error, "))


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


class RequestContext(BaseModel):
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
    context: RequestContext | str | None = None
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


def _spelled(context: RequestContext | None) -> str:
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


def _bad_limit(error_type: str, message: str) -> ApiError:
    return invalid_request("Invalid request.", detail(error_type, "query.payload.limit", message))


def path_id(text: str, name: str, malformed_status: int, absent: ApiError) -> str:
    """Return `text` as a canonical UUID. Raises ApiError when it is malformed.

    Soniox does not document its answer to a malformed id, so the status is `malformed_status`. When this is the
    status of `absent`, `absent` is raised.
    """
    try:
        return str(UUID(text))
    except ValueError:
        if malformed_status == absent.status:
            raise absent from None
    problem = detail("uuid_parsing", f"path.{name}", "Input should be a valid UUID")
    raise ApiError(malformed_status, "invalid_request", "Invalid request.", [problem])


def as_json(request: CreateTranscription) -> dict[str, Any]:
    return request.model_dump(mode="json")
