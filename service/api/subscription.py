"""What a caller may say of an endpoint, checked at the door."""

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from service.api.listing import Moment
from service.api.submission import HTTP_URL
from service.downstream.messages import MAX_HEADERS, MAX_NAME, MAX_VALUE, NAME, VALUE, header_mistakes
from service.downstream.ssrf import AddressGuard, AddressRefusedError
from service.errors import InvalidRequest
from service.schemas import EVENT_TYPES

LONGEST_OVERLAP_S = 7 * 24 * 3600

Url = Annotated[str, Field(max_length=2048, pattern=HTTP_URL)]
HEADERS: dict[str, Any] = {
    "maxProperties": MAX_HEADERS,
    "propertyNames": {"maxLength": MAX_NAME, "pattern": f"^{NAME.pattern}$"},
    "additionalProperties": {"type": "string", "maxLength": MAX_VALUE, "pattern": f"^{VALUE.pattern}$"},
}


def _without_fraction(value: Any) -> Any:
    """JSON knows one kind of number: 66.0 is 66."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WholeNumber = Annotated[int, BeforeValidator(_without_fraction)]


class ChangedEndpoint(BaseModel):
    """PATCH: what is not named stays; `headers` and `event_types` are replaced as a whole."""

    model_config = ConfigDict(extra="forbid", strict=True)
    url: Url = ""
    event_types: list[str] = Field(default_factory=list, max_length=20)
    include: Literal["none", "text", "transcript"] = "none"
    enabled: bool = True
    description: str | None = Field(None, max_length=500)
    headers: dict[str, str] = Field(default_factory=dict, json_schema_extra=HEADERS)
    rate_per_s: float | None = Field(None, ge=0.001, le=10_000, description="Most deliveries begun in a second.")
    max_in_flight: WholeNumber = Field(10, ge=1, le=100, description="Most deliveries under way at once.")

    @field_validator("event_types")
    @classmethod
    def _are_known(cls, types: list[str]) -> list[str]:
        for name in types:
            if name not in EVENT_TYPES:
                raise ValueError(f"unknown event type; there are {', '.join(EVENT_TYPES)}")
        return sorted(set(types), key=types.index)

    @field_validator("description")
    @classmethod
    def _has_no_nul(cls, text: str | None) -> str | None:
        if text and "\0" in text:
            raise ValueError("a NUL character is not allowed")
        return text

    @field_validator("headers")
    @classmethod
    def _are_allowed(cls, headers: dict[str, str]) -> dict[str, str]:
        if mistakes := header_mistakes(headers):
            raise ValueError("; ".join(mistakes[:5]))
        return headers

    @field_validator("url")
    @classmethod
    def _can_be_called(cls, url: str) -> str:
        try:
            host, parts = httpx.URL(url).host, urlsplit(url)
            port_is_fine = parts.port is None or parts.port > 0
        except (httpx.InvalidURL, ValueError):
            raise ValueError("this is not a URL that can be called") from None
        if not host or not port_is_fine or "\\" in url:
            raise ValueError("this is not a URL that can be called")
        if "@" in parts.netloc:
            raise ValueError("put credentials into `headers`, not into the URL")
        return url

    def given(self) -> dict[str, Any]:
        """Only the fields that the caller named."""
        return self.model_dump(exclude_unset=True)


class NewEndpoint(ChangedEndpoint):
    """POST: `url` must be named."""

    url: Url = Field()


class Rotation(BaseModel):
    """How long the old secret still signs beside the new one."""

    model_config = ConfigDict(extra="forbid")
    overlap_s: float = Field(24 * 3600, ge=0, le=LONGEST_OVERLAP_S)


class RecoveryOrder(BaseModel):
    """From when on; `dry_run` only counts."""

    model_config = ConfigDict(extra="forbid")
    since: Moment
    dry_run: bool = False


def refuse_private(guard: AddressGuard, url: str, location: str) -> None:
    """Raise InvalidRequest for a URL that no try could ever reach."""
    try:
        guard.vet_url(url)
    except AddressRefusedError as error:
        raise InvalidRequest(f"The URL is refused: {error}.", problems=((location, str(error)),)) from None
