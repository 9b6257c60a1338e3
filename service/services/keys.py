"""API keys and the caller behind one."""

import hmac
from dataclasses import dataclass

from service.crypto import hash_api_key, new_api_key
from service.errors import NotFoundError, UnauthenticatedError
from service.ids import new_id
from service.relay import Relay
from service.store import keys
from service.tables import ApiKey

BOOTSTRAP = "bootstrap"  # the owner behind RELAY_API_KEY
SCOPES = ("submit", "read", "admin")
USE_RECORDED_EVERY_MS = 60_000


@dataclass(frozen=True)
class Caller:
    """The key behind a request."""

    owner: str
    scopes: frozenset[str]

    @property
    def is_admin(self) -> bool:
        return "admin" in self.scopes

    @property
    def sees(self) -> str | None:
        """Whose rows this caller sees; None for everybody's."""
        return None if self.is_admin else self.owner


async def identify(relay: Relay, key: str) -> Caller:
    """Return the caller with this key. Raises UnauthenticatedError."""
    if not key:
        raise UnauthenticatedError("send your key as `Authorization: Bearer KEY`")
    bootstrap = relay.settings.relay_api_key
    if bootstrap and hmac.compare_digest(hash_api_key(key), hash_api_key(bootstrap.get_secret_value())):
        return Caller(BOOTSTRAP, frozenset(SCOPES))
    found = await relay.db.read(lambda session: keys.find(session, hash_api_key(key)))
    if found is None:
        raise UnauthenticatedError("the key is unknown or was revoked")
    now_ms = relay.clock()
    if now_ms - (found.last_used_at_ms or 0) > USE_RECORDED_EVERY_MS:
        await relay.db.write(lambda session: keys.mark_used(session, found.id, now_ms))
    return Caller(found.id, frozenset(found.scopes))


async def create_key(relay: Relay, name: str, scopes: list[str]) -> tuple[ApiKey, str]:
    """Create a key; return its row and the secret, which is stored nowhere."""
    now_ms = relay.clock()
    secret = new_api_key()
    key = ApiKey(
        id=new_id("key", now_ms),
        name=name,
        hash=hash_api_key(secret),
        scopes=sorted(set(scopes)),
        created_at_ms=now_ms,
    )
    await relay.db.write(lambda session: keys.add(session, key))
    return key, secret


async def revoke_key(relay: Relay, key_id: str) -> None:
    """Revoke a key. Raises NotFoundError."""
    now_ms = relay.clock()
    if "\0" in key_id or not await relay.db.write(lambda session: keys.revoke(session, key_id, now_ms)):
        raise NotFoundError("Key not found.", error_type="key_not_found")
