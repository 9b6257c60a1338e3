"""Who looks at a page, and may they: arguments of routes."""

from collections.abc import Awaitable, Callable
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Depends, Request

from service.dashboard.sessions import COOKIE, Session, read_session
from service.errors import PermissionDenied

HOME = "/ui/"
SIGN_IN = "/ui/sign-in"


class SignInNeeded(Exception):
    """Nobody is signed in; `url` is where that is done, and where it leads back from there."""

    def __init__(self, wanted: str) -> None:
        super().__init__("sign in first")
        self.url = SIGN_IN if wanted == HOME else f"{SIGN_IN}?{urlencode({'next': wanted})}"


async def visit(request: Request) -> Session:
    """The session of this request. Raises SignInNeeded."""
    session = await read_session(request.state.relay, request.cookies.get(COOKIE, ""))
    if session is None:
        raise SignInNeeded(_wanted(request))
    request.state.visitor = session
    return session


def visits(scope: str) -> Callable[[Request], Awaitable[Session]]:
    """A dependency that lets only keys with `scope` look; admin keys have all scopes."""

    async def check(request: Request) -> Session:
        visitor = await visit(request)
        if scope not in visitor.caller.scopes and not visitor.caller.is_admin:
            raise PermissionDenied(f"The key “{visitor.name}” lacks the scope “{scope}”.")
        return visitor

    return check


def _wanted(request: Request) -> str:
    """What was asked for; after a form there is no page to lead back to."""
    if request.method != "GET":
        return HOME
    query = f"?{request.url.query}" if request.url.query else ""
    return request.url.path + query


Reader = Annotated[Session, Depends(visits("read"))]
Admin = Annotated[Session, Depends(visits("admin"))]
