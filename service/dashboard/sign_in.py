"""/ui/sign-in and /ui/sign-out: sign in with an API key, and sign out."""

from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from service.api.deps import RelayDep
from service.dashboard.render import render
from service.dashboard.session import (
    HOME,
    SESSION_COOKIE,
    SESSION_LASTS_S,
    SIGN_IN,
    FormOfReader,
    open_session,
    read_form,
    read_session,
    redirect_back,
    set_cookie,
)
from service.errors import UnauthenticatedError
from service.rate_limits import AnonymousRateLimiter, address_of
from service.services.keys import identify

router = APIRouter()


@router.get("/sign-in")
async def form(request: Request, relay: RelayDep, next: str = HOME) -> Response:
    if await read_session(relay, request.cookies.get(SESSION_COOKIE, "")):
        return RedirectResponse(_own_page(next), 303)
    return render(request, "sign_in.html", next=_own_page(next), problem="")


@router.post("/sign-in")
async def sign_in(request: Request, relay: RelayDep) -> Response:
    fields = await read_form(request)
    wanted = _own_page(str(fields.get("next", "")))
    anonymous_limiter: AnonymousRateLimiter = request.state.anonymous_limiter
    given = str(fields.get("key", "")).strip()
    try:
        with anonymous_limiter.visit(address_of(request.scope), given):
            caller = await identify(relay, given)
    except UnauthenticatedError:
        return render(request, "sign_in.html", 401, next=wanted, problem="This key is unknown, or it was revoked.")
    if "read" not in caller.scopes and not caller.is_admin:
        return render(request, "sign_in.html", 403, next=wanted, problem="This key may submit, but not read.")
    response = RedirectResponse(wanted, 303)
    set_cookie(response, request, SESSION_COOKIE, await open_session(relay, caller.owner), SESSION_LASTS_S)
    return response


@router.post("/sign-out")
async def sign_out(request: Request, _post: FormOfReader) -> Response:
    response = redirect_back(request, SIGN_IN, "You are signed out.")
    response.delete_cookie(SESSION_COOKIE, path="/ui")
    return response


def _own_page(url: str) -> str:
    """Return `url` if it is a dashboard page, else HOME. This prevents open redirects."""
    parts = urlsplit(url)
    path_is_ours = parts.path.startswith(HOME)
    is_ours = not parts.scheme and not parts.netloc and path_is_ours and url.isprintable() and "\\" not in url
    return url if is_ours and not parts.path.startswith(SIGN_IN) else HOME
