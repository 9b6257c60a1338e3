"""Messages to endpoints: the event's bytes, a fresh signature and the endpoint's own headers."""

import base64
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from service.crypto import SecretBox

MAX_HEADERS = 20
MAX_NAME = 256  # Soniox's limit for the header of its webhooks
MAX_VALUE = 2048

NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)  # RFC 9110: a token
VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?", re.ASCII)

# Set by the relay or by HTTP, or able to change the routing or framing of a request.
FORBIDDEN = frozenset(
    (
        *("accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect"),
        *("forwarded", "host", "http2-settings", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"),
        *("via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"),
    )
)
FORBIDDEN_PREFIXES = ("webhook-", "proxy-", "sec-")


def header_mistakes(headers: Mapping[str, str]) -> list[str]:
    """Return one line for each mistake, without the values."""
    found = [f"at most {MAX_HEADERS} headers are allowed"] if len(headers) > MAX_HEADERS else []
    if len({name.lower() for name in headers}) < len(headers):
        found.append("a header is named twice; case makes no difference")
    for name, value in headers.items():
        if mistake := _header_mistake(name, value):
            found.append(mistake)
    return found


def _header_mistake(name: str, value: str) -> str | None:
    if len(name) > MAX_NAME or not NAME.fullmatch(name):
        return f"a header's name must be a token of at most {MAX_NAME} characters: letters, digits, hyphens"
    if name.lower() in FORBIDDEN or name.lower().startswith(FORBIDDEN_PREFIXES):
        return f"`{name}` is set by the relay or by HTTP itself"
    if len(value) > MAX_VALUE or not VALUE.fullmatch(value):
        return f"the value of `{name}` must be visible ASCII of at most {MAX_VALUE} characters"
    return None


def signed_headers(event_id: str, at_s: int, body: bytes, secrets: list[str]) -> dict[str, str]:
    """Return the three headers of Standard Webhooks, with a signature for each of `secrets` (`whsec_...`).

    Several secrets are valid during a rotation.
    """
    signatures = " ".join(_signature(event_id, at_s, body, secret) for secret in secrets)
    return {"webhook-id": event_id, "webhook-timestamp": str(at_s), "webhook-signature": signatures}


def _signature(event_id: str, at_s: int, body: bytes, secret: str) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{event_id}.{at_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


@dataclass(frozen=True)
class Message:
    """One POST to a receiver."""

    url: str
    headers: dict[str, str]
    body: bytes


class Destination(Protocol):
    """The columns of an endpoint that a message needs."""

    @property
    def url(self) -> str | None: ...
    @property
    def headers_encrypted(self) -> str | None: ...
    @property
    def secret_encrypted(self) -> str | None: ...
    @property
    def previous_secrets(self) -> Sequence[dict[str, Any]] | None: ...


def build_message(
    destination: Destination, secret_box: SecretBox, event_id: str, body: bytes, at_ms: int
) -> Message:
    """Build the message, signed with every secret valid at `at_ms`.

    Raises ValueError if a secret or a header cannot be decrypted.
    """
    secrets = [secret_box.decrypt(sealed) for sealed in valid_secrets(destination, at_ms)]
    headers = {**own_headers(destination, secret_box), **signed_headers(event_id, at_ms // 1000, body, secrets)}
    return Message(destination.url or "", headers, body)


def valid_secrets(destination: Destination, at_ms: int) -> list[str]:
    """Return the encrypted secrets: the current one, then replaced ones that are still valid."""
    past = [old["sealed"] for old in destination.previous_secrets or () if old["until_ms"] > at_ms]
    return [destination.secret_encrypted or "", *past]


def own_headers(destination: Destination, secret_box: SecretBox) -> dict[str, str]:
    """Return the headers that the caller set for the endpoint."""
    if not destination.headers_encrypted:
        return {}
    return msgspec.json.decode(secret_box.decrypt(destination.headers_encrypted), type=dict[str, str])
