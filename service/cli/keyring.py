"""Keys behind the API. Loaded by `keys`."""

from dataclasses import dataclass
from typing import Any, Protocol

from service.cli.client import connect, path_of

KEYS = "/v1/keys"


class Keyring(Protocol):
    """What can be done with keys, wherever they are; the answers are the API's."""

    def create(self, name: str, scopes: list[str]) -> dict[str, Any]: ...
    def list_all(self) -> dict[str, Any]: ...
    def revoke(self, key_id: str) -> None: ...


@dataclass(frozen=True)
class RemoteKeyring:
    """Through the API, with an admin's key."""

    url: str | None
    key: str | None

    def create(self, name: str, scopes: list[str]) -> dict[str, Any]:
        with connect(self.url, self.key) as relay:
            return dict(relay.ask("POST", KEYS, json={"name": name, "scopes": scopes}).json())

    def list_all(self) -> dict[str, Any]:
        with connect(self.url, self.key) as relay:
            return relay.get(KEYS)

    def revoke(self, key_id: str) -> None:
        with connect(self.url, self.key) as relay:
            relay.ask("DELETE", path_of(KEYS, key_id))
