"""Manage API keys through the API, or directly in the database before an API key exists."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from service import errors
from service.api.keys import Key, Keys, KeyWithSecret, NewKey
from service.cli.client import connect, path_of
from service.cli.console import MissingError, UsageError
from service.cli.database import open_here, set_up_if_new
from service.errors import ConfigurationError
from service.relay import Relay
from service.services.keys import create_key, revoke_key
from service.settings import load_settings
from service.store import keys
from service.telemetry import configure_logs

KEYS = "/v1/keys"


class Keyring(Protocol):
    """Operations on API keys. The results have the shape of the API's responses."""

    def create(self, name: str, scopes: list[str]) -> dict[str, Any]: ...
    def list_all(self) -> dict[str, Any]: ...
    def revoke(self, key_id: str) -> None: ...


@dataclass(frozen=True)
class RemoteKeyring:
    """Manages keys through the API, with a key of scope `admin`."""

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


T = TypeVar("T")


class LocalKeyring:
    """Manages keys in the database of the settings, whether or not a relay runs."""

    def create(self, name: str, scopes: list[str]) -> dict[str, Any]:
        new = NewKey.model_validate({"name": name, "scopes": scopes})
        return _on_database(lambda relay: _create(relay, new))

    def list_all(self) -> dict[str, Any]:
        return _on_database(_list)

    def revoke(self, key_id: str) -> None:
        try:
            _on_database(lambda relay: revoke_key(relay, key_id))
        except errors.NotFoundError as error:
            raise MissingError(error.message) from None


def first_keyring() -> LocalKeyring:
    """Return the local keyring while the database has no key. Raises UsageError otherwise."""
    ring = LocalKeyring()
    try:
        is_first = not ring.list_all()["keys"]
    except ConfigurationError:  # no relay is set up here, so the command is meant for the API
        is_first = False
    if not is_first:
        cure = "set RELAY_API_KEY or give --key; where the relay runs, --local needs none"
        raise UsageError("no API key", cure)
    return ring


def _on_database(act: Callable[[Relay], Awaitable[T]]) -> T:
    settings = load_settings()
    configure_logs("error", settings.log_format)
    set_up_if_new(settings)

    async def run() -> T:
        async with open_here(settings) as relay:
            return await act(relay)

    return asyncio.run(run())


async def _create(relay: Relay, new: NewKey) -> dict[str, Any]:
    key, secret = await create_key(relay, new.name, list(new.scopes))
    return KeyWithSecret.of(key, key=secret).model_dump()


async def _list(relay: Relay) -> dict[str, Any]:
    return Keys(keys=[Key.of(key) for key in await relay.db.read(keys.list_valid)]).model_dump()
