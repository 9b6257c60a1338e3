"""Dependencies of routes: the caller behind the key, and the parts of the running relay."""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes

from service.api.waiting import CompletionWaiter
from service.crypto import hash_api_key
from service.errors import InvalidRequestError, PermissionDeniedError, TooManyRequestsError, UnauthenticatedError
from service.rate_limits import AnonymousRateLimiter, RateLimiter, acquire, address_of
from service.relay import Relay
from service.services.model_cache import ModelCache
from service.services.statistics import Statistics
from service.store import keys

SEVERAL = "May be given several times, or several separated by commas."


def comma_list(values: Iterable[str]) -> tuple[str, ...]:
    """What was given several times or with commas; sorted and each once, since neither means anything."""
    return tuple(sorted({part.strip() for value in values for part in value.split(",") if part.strip()}))


def invalid_query(name: str, text: str) -> InvalidRequestError:
    """The error for a parameter that the others make impossible."""
    return InvalidRequestError("Invalid request.", problems=((f"query.{name}", text),))


BOOTSTRAP = "bootstrap"  # the owner behind RELAY_API_KEY
SCOPES = ("submit", "read", "admin")
USE_RECORDED_EVERY_MS = 60_000

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
    """The caller behind the bearer key.

    Raises UnauthenticatedError, and TooManyRequestsError when its rate is spent.
    """
    strangers: AnonymousRateLimiter = request.state.strangers
    key = credentials.credentials if credentials else ""
    with strangers.visit(address_of(request.scope), key):
        caller = await identify(request.state.relay, key)
    limits: RateLimiter = request.state.limits
    request.state.rate_limit, wait_s = acquire(limits, caller.owner)
    if wait_s:
        raise TooManyRequestsError(
            f"the key may make {limits.per_minute} requests per minute", retry_after_s=wait_s
        )
    return caller


async def require_scopes(needed: SecurityScopes, caller: Annotated[Caller, Depends(authenticate)]) -> Caller:
    """The caller, if its key has the scopes that the route names;
    admin keys have all. Raises PermissionDeniedError.
    """
    for scope in needed.scopes:
        if scope not in caller.scopes and not caller.is_admin:
            raise PermissionDeniedError(f"the key lacks the scope `{scope}`")
    return caller


async def identify(relay: Relay, key: str) -> Caller:
    """Who has this key. Raises UnauthenticatedError."""
    if not key:
        raise UnauthenticatedError("send your key as `Authorization: Bearer KEY`")
    bootstrap = relay.settings.relay_api_key
    if bootstrap and hmac.compare_digest(hash_api_key(key), hash_api_key(bootstrap.get_secret_value())):
        return Caller(BOOTSTRAP, frozenset(SCOPES))
    return await _stored_caller(relay, key)


async def _stored_caller(relay: Relay, key: str) -> Caller:
    found = await relay.db.read(lambda session: keys.find(session, hash_api_key(key)))
    if found is None:
        raise UnauthenticatedError("the key is unknown or was revoked")
    now_ms = relay.clock()
    if now_ms - (found.last_used_at_ms or 0) > USE_RECORDED_EVERY_MS:
        await relay.db.write(lambda session: keys.mark_used(session, found.id, now_ms))
    return Caller(found.id, frozenset(found.scopes))


async def relay_of(request: Request) -> Relay:
    """The running relay."""
    relay: Relay = request.state.relay
    return relay


async def model_cache_of(request: Request) -> ModelCache:
    """What Soniox can transcribe with."""
    catalogue: ModelCache = request.state.catalogue
    return catalogue


async def completion_waiter_of(request: Request) -> CompletionWaiter:
    """Where requests wait for transcriptions to end."""
    endings: CompletionWaiter = request.state.endings
    return endings


async def statistics_of(request: Request) -> Statistics:
    """What stands where, and what happened."""
    figures: Statistics = request.state.figures
    return figures


Submitter = Annotated[Caller, Security(require_scopes, scopes=["submit"])]
Reader = Annotated[Caller, Security(require_scopes, scopes=["read"])]
Admin = Annotated[Caller, Security(require_scopes, scopes=["admin"])]
RelayDep = Annotated[Relay, Depends(relay_of)]
ModelCacheDep = Annotated[ModelCache, Depends(model_cache_of)]
CompletionWaiterDep = Annotated[CompletionWaiter, Depends(completion_waiter_of)]
StatisticsDep = Annotated[Statistics, Depends(statistics_of)]
