"""Soniox's error body, which every refusal has."""

from typing import Any

from pydantic import Field

from service.errors import Problems
from service.schemas.base import Open


class Problem(Open):
    """One wrong field."""

    error_type: str
    location: str = Field(description="Dotted, such as `body.payload.model`.")
    message: str


class Error(Open):
    """Every refusal. Branch on `error_type`, never on `message`; log `request_id`."""

    status_code: int
    error_type: str
    message: str
    validation_errors: list[Problem]
    request_id: str
    more_info: str | None = None


def error_body(
    status_code: int, error_type: str, message: str, request_id: str, problems: Problems = ()
) -> dict[str, Any]:
    """The document with these words."""
    wrong = [
        Problem(error_type=kind[0] if kind else "value_error", location=location, message=text)
        for location, text, *kind in problems
    ]
    return Error(
        status_code=status_code,
        error_type=error_type,
        message=message,
        validation_errors=wrong,
        request_id=request_id,
    ).model_dump()
