"""Every error the relay raises, sorted by who has to do something about it.

RelayError
├── ConfigurationError              the operator corrects the settings; the process refuses to start (exit 2)
├── CallerError                     the caller changes the request; answered with Soniox's error body
│   ├── InvalidRequestError      400     a field is wrong (`validation_errors` says where)
│   ├── InvalidCursorError       400     list again from the start
│   ├── UnauthenticatedError     401     send a valid key
│   ├── PermissionDeniedError    403     use a key with the scope
│   ├── NotFoundError            404     it is not there, or not yours
│   ├── InvalidStateError        409     wait, or act on another state
│   ├── TooLargeError            413     send less
│   ├── UnsupportedMediaTypeError 415    send JSON, or a form
│   ├── IdempotencyMismatchError 422     use a fresh Idempotency-Key
│   └── TooManyRequestsError     429     slow down (`retry_after_s`)
├── UnavailableError             503     nothing was kept: send the same again later
│   ├── OverloadedError                  the write queue is full
│   └── DatabaseDownError                the database does not answer
└── SonioxError                     what a call to Soniox came to, sorted by what we do next
    ├── SonioxUnreachableError           nothing happened there: try again
    ├── SonioxOutcomeUnknownError             it may have happened: look before trying again
    ├── SonioxRateLimitedError           wait `retry_after_s`, then try again
    ├── SonioxQuotaExceededError             a quota is full: clean up, waiting does not help
    ├── SonioxAuthError            401, 402 or 403: park all work until the operator cures it
    ├── SonioxNotFoundError              it is gone
    ├── SonioxNotReadyError              409: read again later
    └── SonioxRejectedError               never again with these bytes
"""

from typing import ClassVar

Problems = tuple[tuple[str, str] | tuple[str, str, str], ...]


class RelayError(Exception):
    """Base of all errors raised on purpose."""


class ConfigurationError(RelayError):
    """The settings or the environment do not allow a start. `problems` has one line for each mistake."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class CallerError(RelayError):
    """The request is refused.

    `problems` are tuples (location, message) or (location, message, kind). Locations are dotted as in Soniox's
    errors, such as `body.payload.audio_url`; kinds are Soniox's terms, such as `missing`.
    """

    status_code: ClassVar[int] = 400
    error_type: ClassVar[str] = "invalid_request"

    def __init__(
        self,
        message: str,
        *,
        problems: Problems = (),
        error_type: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.problems = problems
        self.kind = error_type or self.error_type
        self.retry_after_s = retry_after_s


class InvalidRequestError(CallerError):
    """A field of the request is wrong."""


class InvalidCursorError(CallerError):
    """This relay did not issue the cursor."""

    error_type = "invalid_cursor"


class UnauthenticatedError(CallerError):
    """The key is missing, unknown or revoked."""

    status_code = 401
    error_type = "unauthenticated"


class PermissionDeniedError(CallerError):
    """The key lacks the required scope."""

    status_code = 403
    error_type = "permission_denied"


class NotFoundError(CallerError):
    """The object does not exist or belongs to another key."""

    status_code = 404
    error_type = "not_found"


class InvalidStateError(CallerError):
    """The transcription is not in a state that allows this."""

    status_code = 409
    error_type = "transcription_invalid_state"


class TooLargeError(CallerError):
    """The body exceeds its size limit."""

    status_code = 413
    error_type = "request_too_large"


class UnsupportedMediaTypeError(CallerError):
    """The route does not accept the body's content type."""

    status_code = 415
    error_type = "unsupported_media_type"


class IdempotencyMismatchError(CallerError):
    """The idempotency key was used before with another request."""

    status_code = 422
    error_type = "idempotency_key_mismatch"


class TooManyRequestsError(CallerError):
    """The key or the address exceeds its rate limit."""

    status_code = 429
    error_type = "limit_exceeded"


class UnavailableError(RelayError):
    """Nothing was stored; the same request may be sent again."""

    status_code: ClassVar[int] = 503


class OverloadedError(UnavailableError):
    """The queue of waiting writes is full."""


class DatabaseDownError(UnavailableError):
    """The database does not answer."""


class SonioxError(RelayError):
    """A call to Soniox failed.

    `status_code` is None if there was no response. `error_type` and `message` are Soniox's own.
    """

    def __init__(
        self,
        message: str,
        *,
        status_code: int | None = None,
        error_type: str = "",
        request_id: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status_code = status_code
        self.error_type = error_type
        self.request_id = request_id
        self.retry_after_s = retry_after_s


class SonioxUnreachableError(SonioxError):
    """The call had no effect at Soniox."""


class SonioxOutcomeUnknownError(SonioxError):
    """The call was sent; whether it had an effect is unknown."""


class SonioxRateLimitedError(SonioxError):
    """Soniox received too many requests in the last minute."""


class SonioxQuotaExceededError(SonioxError):
    """A quota of stored objects or pending transcriptions is full."""


class SonioxAuthError(SonioxError):
    """Soniox refuses the API key, the key lacks a permission, or the account has no balance."""


class SonioxNotFoundError(SonioxError):
    """Soniox has no such transcription or file."""


class SonioxNotReadyError(SonioxError):
    """The transcription's state does not allow the call yet."""


class SonioxRejectedError(SonioxError):
    """Soniox rejects the request, and would reject it again."""
