"""What is sent to an endpoint: the bytes of the event, signed now, with the caller's own headers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from service.downstream.sign import signed_headers
from service.vault import Vault


@dataclass(frozen=True)
class Message:
    """One POST, ready to go."""

    url: str
    headers: dict[str, str]
    body: bytes


class Destination(Protocol):
    """What an endpoint's row, or a row that carries it, tells."""

    @property
    def url(self) -> str | None: ...
    @property
    def headers_sealed(self) -> str | None: ...
    @property
    def secret_sealed(self) -> str | None: ...
    @property
    def past_secrets(self) -> Sequence[dict[str, Any]] | None: ...


def message_to(destination: Destination, vault: Vault, event_id: str, body: bytes, at_ms: int) -> Message:
    """Sign with every secret that is valid at `at_ms`. Raises ValueError when a secret cannot be opened."""
    secrets = [vault.open(sealed) for sealed in valid_secrets(destination, at_ms)]
    headers = {**own_headers(destination, vault), **signed_headers(event_id, at_ms // 1000, body, secrets)}
    return Message(destination.url or "", headers, body)


def valid_secrets(destination: Destination, at_ms: int) -> list[str]:
    """Sealed, the current one first, then those replaced not long ago."""
    past = [old["sealed"] for old in destination.past_secrets or () if old["until_ms"] > at_ms]
    return [destination.secret_sealed or "", *past]


def own_headers(destination: Destination, vault: Vault) -> dict[str, str]:
    """The caller's own headers."""
    if not destination.headers_sealed:
        return {}
    return msgspec.json.decode(vault.open(destination.headers_sealed), type=dict[str, str])
