"""Who is calling, and what may they do."""

import hmac
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes

from service.api.waiting import Endings
from service.crypto import hash_api_key
from service.errors import PermissionDenied, TooManyRequests, Unauthenticated
from service.rate_limits import AnonymousRateLimiter, RateLimiter, acquire, address_of
from service.relay import Relay
from service.services.model_cache import ModelCache
from service.services.statistics import Statistics
from service.store import keys

BOOTSTRAP = "bootstrap"  # the owner behind RELAY_API_KEY
SCOPES = ("submit", "read", "admin")
USE_NOTED_EVERY_MS = 60_000

bearer = HTTPBearer(scheme_name="key", auto_error=False)
Credentials = Annotated[HTTPAuthorizationCredentials | None, Security(bearer)]


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
        """Whose things this caller sees; None: everybody's."""
        return None if self.is_admin else self.owner


async def authenticate(request: Request, credentials: Credentials) -> Caller:
    """The caller behind the bearer key. Raises Unauthenticated, and TooManyRequests when its rate is spent."""
    strangers: AnonymousRateLimiter = request.state.strangers
    key = credentials.credentials if credentials else ""
    with strangers.visit(address_of(request.scope), key):
        caller = await identify(request.state.relay, key)
    limits: RateLimiter = request.state.limits
    request.state.rate_limit, wait_s = acquire(limits, caller.owner)
    if wait_s:
        raise TooManyRequests(f"the key may make {limits.per_minute} requests per minute", retry_after_s=wait_s)
    return caller


async def permit(needed: SecurityScopes, caller: Annotated[Caller, Depends(authenticate)]) -> Caller:
    """The caller, if its key has the scopes that the route names; admin keys have all. Raises PermissionDenied."""
    for scope in needed.scopes:
        if scope not in caller.scopes and not caller.is_admin:
            raise PermissionDenied(f"the key lacks the scope `{scope}`")
    return caller


async def identify(relay: Relay, key: str) -> Caller:
    """Who has this key. Raises Unauthenticated."""
    if not key:
        raise Unauthenticated("send your key as `Authorization: Bearer KEY`")
    bootstrap = relay.settings.relay_api_key
    if bootstrap and hmac.compare_digest(hash_api_key(key), hash_api_key(bootstrap.get_secret_value())):
        return Caller(BOOTSTRAP, frozenset(SCOPES))
    return await _stored(relay, key)


async def _stored(relay: Relay, key: str) -> Caller:
    found = await relay.db.read(lambda session: keys.find(session, hash_api_key(key)))
    if found is None:
        raise Unauthenticated("the key is unknown or was revoked")
    now_ms = relay.clock()
    if now_ms - (found.last_used_at_ms or 0) > USE_NOTED_EVERY_MS:
        await relay.db.write(lambda session: keys.mark_used(session, found.id, now_ms))
    return Caller(found.id, frozenset(found.scopes))


async def relay_of(request: Request) -> Relay:
    """The running relay."""
    relay: Relay = request.state.relay
    return relay


async def catalogue_of(request: Request) -> ModelCache:
    """What Soniox can transcribe with."""
    catalogue: ModelCache = request.state.catalogue
    return catalogue


async def endings_of(request: Request) -> Endings:
    """Where requests wait for transcriptions to end."""
    endings: Endings = request.state.endings
    return endings


async def figures_of(request: Request) -> Statistics:
    """What stands where, and what happened."""
    figures: Statistics = request.state.figures
    return figures


Submitter = Annotated[Caller, Security(permit, scopes=["submit"])]
Reader = Annotated[Caller, Security(permit, scopes=["read"])]
Admin = Annotated[Caller, Security(permit, scopes=["admin"])]
RelayOf = Annotated[Relay, Depends(relay_of)]
CatalogueOf = Annotated[ModelCache, Depends(catalogue_of)]
EndingsOf = Annotated[Endings, Depends(endings_of)]
FiguresOf = Annotated[Statistics, Depends(figures_of)]
