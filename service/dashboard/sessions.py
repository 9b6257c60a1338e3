"""Sessions: a signed cookie that says which API key signed in and until when. It holds no key.

Ours rather than Starlette's middleware, which decides once for all requests whether a cookie is for https only.
The signature covers the key's hash, too, so a session ends with its key: revoked, or replaced in the settings.
Every request looks that up, and with it what the key may do now.
"""

import secrets
from dataclasses import dataclass

from fastapi import Request, Response

from service.api.auth import BOOTSTRAP, SCOPES, Caller
from service.crypto import SecretBox, hash_api_key
from service.errors import Unauthenticated
from service.relay import Relay
from service.store import keys

COOKIE = "relay_session"
LASTS_S = 12 * 3600
PURPOSE = "dashboard session"
TOKEN_PURPOSE = "dashboard form"  # noqa: S105  # a word in a signature, not a secret


@dataclass(frozen=True)
class Holder:
    """Whose key it is, and its hash."""

    caller: Caller
    name: str
    digest: str


@dataclass(frozen=True)
class Session:
    """One browser, signed in. `token` proves that a form was drawn for it."""

    caller: Caller
    name: str
    token: str

    @property
    def may_submit(self) -> bool:
        """True when this key may change its jobs, and not only read."""
        return "submit" in self.caller.scopes or self.caller.is_admin


async def open_session(relay: Relay, owner: str) -> str:
    """The cookie for the key of `owner`, which was just checked. Raises Unauthenticated."""
    holder = await _holder(relay, owner)
    if holder is None:
        raise Unauthenticated("the key was revoked this very moment")
    content = f"{owner}.{relay.clock() // 1000 + LASTS_S}.{secrets.token_urlsafe(16)}"
    return f"{content}.{relay.vault.sign(PURPOSE, content + holder.digest)}"


async def read_session(relay: Relay, cookie: str) -> Session | None:
    """The session of a cookie; None when it is forged, over, or its key is gone."""
    content, _, signature = cookie.rpartition(".")
    owner, until_s = _parse(content)
    if until_s <= relay.clock() // 1000:
        return None
    holder = await _holder(relay, owner)
    if holder is None or not relay.vault.knows_signature(PURPOSE, content + holder.digest, signature):
        return None
    return Session(holder.caller, holder.name, relay.vault.sign(TOKEN_PURPOSE, cookie))


def is_token_of(vault: SecretBox, cookie: str, token: str) -> bool:
    """True for the token of this session's forms."""
    return vault.knows_signature(TOKEN_PURPOSE, cookie, token)


def set_cookie(response: Response, request: Request, name: str, value: str, lasts_s: int) -> None:
    """Out of reach of scripts and of other sites; over https only, where we are reached so."""
    response.set_cookie(
        name, value, lasts_s, path="/ui", secure=_is_https(request), httponly=True, samesite="strict"
    )


def _is_https(request: Request) -> bool:
    """Directly, or through the proxy in front of PUBLIC_BASE_URL."""
    relay: Relay = request.state.relay
    public = relay.settings.base_url
    return request.url.scheme == "https" or public == f"https://{request.headers.get('host', '')}"


def _parse(content: str) -> tuple[str, int]:
    owner, _, rest = content.partition(".")
    until = rest.partition(".")[0]
    return owner, int(until) if until.isascii() and until.isdigit() and len(until) < 16 else 0


async def _holder(relay: Relay, owner: str) -> Holder | None:
    if owner == BOOTSTRAP:
        key = relay.settings.relay_api_key
        caller = Caller(BOOTSTRAP, frozenset(SCOPES))
        return Holder(caller, "RELAY_API_KEY", hash_api_key(key.get_secret_value())) if key else None
    found = await relay.db.read(lambda session: keys.get_valid(session, owner))
    return Holder(Caller(found.id, frozenset(found.scopes)), found.name, found.hash) if found else None
