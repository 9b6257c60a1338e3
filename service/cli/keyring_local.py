"""Keys in the database itself. Loaded by `keys` when there is no API, or no key, to go through."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from service.api.keys import NewKey, issue, list_valid
from service.cli.databases import open_here, set_up_if_new
from service.cli.problems import Misused, NotThere
from service.errors import ConfigurationError
from service.relay import Relay
from service.settings import load_settings
from service.store import keys
from service.telemetry import configure_logs

T = TypeVar("T")


class LocalKeyring:
    """On the database of the settings, whether or not a relay runs."""

    def create(self, name: str, scopes: list[str]) -> dict[str, Any]:
        new = NewKey.model_validate({"name": name, "scopes": scopes})
        return _on_database(lambda relay: _create(relay, new))

    def list_all(self) -> dict[str, Any]:
        return _on_database(_list)

    def revoke(self, key_id: str) -> None:
        if not _on_database(lambda relay: _revoke(relay, key_id)):
            raise NotThere("Key not found.")


def first_keyring() -> LocalKeyring:
    """The database's, while it has no key. Raises Misused when this is no place for it."""
    ring = LocalKeyring()
    try:
        is_first = not ring.list_all()["keys"]
    except ConfigurationError:  # no relay is set up here, so its API is what was meant
        is_first = False
    if not is_first:
        cure = "set RELAY_API_KEY or give --key; where the relay runs, --local needs none"
        raise Misused("no API key", cure)
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
    return (await issue(relay, new)).model_dump()


async def _list(relay: Relay) -> dict[str, Any]:
    return (await list_valid(relay)).model_dump()


async def _revoke(relay: Relay, key_id: str) -> bool:
    now_ms = relay.clock()
    return await relay.db.write(lambda session: keys.revoke(session, key_id, now_ms))
