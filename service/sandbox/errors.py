"""Soniox's error body, and one constructor for each error that the sandbox raises."""

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

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


class SonioxError(Exception):
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


def unauthenticated() -> SonioxError:
    return SonioxError(401, "unauthenticated", "Incorrect API key provided.")


def file_not_found() -> SonioxError:
    return SonioxError(404, "file_not_found", "File could not be found.")


def transcription_not_found() -> SonioxError:
    return SonioxError(404, "transcription_not_found", "Transcription could not be found.")


def invalid_state(message: str) -> SonioxError:
    return SonioxError(409, "transcription_invalid_state", message)


def invalid_cursor() -> SonioxError:
    return SonioxError(400, "invalid_cursor", "Invalid cursor parameter.")


def limit_exceeded(message: str) -> SonioxError:
    return SonioxError(429, "limit_exceeded", message)


def invalid_request(message: str = "Invalid request.", *details: dict[str, str]) -> SonioxError:
    return SonioxError(400, "invalid_request", message, details)


def detail(error_type: str, location: str, message: str) -> dict[str, str]:
    return {"error_type": error_type, "location": location, "message": message}


def refused_by_schema(error: ValidationError, location: str) -> SonioxError:
    """Translate pydantic's complaint into Soniox's, whose locations are dotted strings."""
    return invalid_request("Invalid request.", *(_described(item, location) for item in error.errors()))


def _described(item: ErrorDetails, location: str) -> dict[str, str]:
    place = ".".join([location, *(str(part) for part in item["loc"])])
    return detail(item["type"], place, item["msg"].removeprefix("Value error, "))
