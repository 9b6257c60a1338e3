"""Dependencies of routes: the authenticated caller, and the shared objects of the process."""

from collections.abc import Iterable
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes

from service.api.waiting import CompletionWaiter
from service.errors import InvalidRequestError, PermissionDeniedError, TooManyRequestsError
from service.rate_limits import AnonymousRateLimiter, RateLimiter, acquire, address_of
from service.relay import Relay
from service.services.keys import Caller, identify
from service.services.model_cache import ModelCache
from service.services.statistics import Statistics

SEVERAL = "May be given several times, or several separated by commas."


def comma_list(values: Iterable[str]) -> tuple[str, ...]:
    """Split values at commas. The result is sorted and unique, because order and repetition have no meaning."""
    return tuple(sorted({part.strip() for value in values for part in value.split(",") if part.strip()}))


def invalid_query(name: str, text: str) -> InvalidRequestError:
    """Return the error for a query parameter that is invalid, alone or beside the others."""
    return InvalidRequestError("Invalid request.", problems=((f"query.{name}", text),))


bearer = HTTPBearer(scheme_name="key", auto_error=False)
Credentials = Annotated[HTTPAuthorizationCredentials | None, Security(bearer)]


async def authenticate(request: Request, credentials: Credentials) -> Caller:
    """Return the caller that the bearer key belongs to.

    Raises UnauthenticatedError, and TooManyRequestsError if the key or the address is over its rate limit.
    """
    anonymous_limiter: AnonymousRateLimiter = request.state.anonymous_limiter
    key = credentials.credentials if credentials else ""
    with anonymous_limiter.visit(address_of(request.scope), key):
        caller = await identify(request.state.relay, key)
    key_limiter: RateLimiter = request.state.key_limiter
    request.state.rate_limit, wait_s = acquire(key_limiter, caller.owner)
    if wait_s:
        raise TooManyRequestsError(
            f"the key may make {key_limiter.per_minute} requests per minute", retry_after_s=wait_s
        )
    return caller


async def require_scopes(needed: SecurityScopes, caller: Annotated[Caller, Depends(authenticate)]) -> Caller:
    """Return the caller if its key has the scopes of the route. Admin keys have all scopes.

    Raises PermissionDeniedError.
    """
    for scope in needed.scopes:
        if scope not in caller.scopes and not caller.is_admin:
            raise PermissionDeniedError(f"the key lacks the scope `{scope}`")
    return caller


async def relay_of(request: Request) -> Relay:
    """Return the relay of this process."""
    relay: Relay = request.state.relay
    return relay


async def model_cache_of(request: Request) -> ModelCache:
    """Return the cache of Soniox's models."""
    model_cache: ModelCache = request.state.model_cache
    return model_cache


async def completion_waiter_of(request: Request) -> CompletionWaiter:
    """Return the object that waits for transcriptions to end."""
    completion_waiter: CompletionWaiter = request.state.completion_waiter
    return completion_waiter


async def statistics_of(request: Request) -> Statistics:
    """Return the statistics of this process."""
    statistics: Statistics = request.state.statistics
    return statistics


Submitter = Annotated[Caller, Security(require_scopes, scopes=["submit"])]
Reader = Annotated[Caller, Security(require_scopes, scopes=["read"])]
Admin = Annotated[Caller, Security(require_scopes, scopes=["admin"])]
RelayDep = Annotated[Relay, Depends(relay_of)]
ModelCacheDep = Annotated[ModelCache, Depends(model_cache_of)]
CompletionWaiterDep = Annotated[CompletionWaiter, Depends(completion_waiter_of)]
StatisticsDep = Annotated[Statistics, Depends(statistics_of)]
