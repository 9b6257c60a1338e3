"""Forms that change something: taken only from our own pages, and answered with a redirect to one."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request, Response
from fastapi.responses import RedirectResponse
from starlette.datastructures import FormData

from service.dashboard.flash import flash
from service.dashboard.sessions import COOKIE, Session, is_token_of
from service.dashboard.visitors import visits
from service.errors import InvalidRequest, PermissionDenied

TOKEN_FIELD = "token"  # noqa: S105  # the name of a field
MOST_FIELDS = 1_100  # a page of ticked rows


@dataclass(frozen=True)
class Post:
    """A form that was sent on purpose, and by whom."""

    visitor: Session
    form: FormData

    def get(self, name: str) -> str:
        """A field; empty when it is missing."""
        value = self.form.get(name, "")
        return value if isinstance(value, str) else ""

    def all(self, name: str) -> list[str]:
        """All values of a field that may be ticked several times."""
        return [value for value in self.form.getlist(name) if isinstance(value, str)]


def posts(scope: str) -> Callable[[Request], Awaitable[Post]]:
    """A dependency: the form, from a page of ours that was drawn for this session, by a key with `scope`."""
    check = visits(scope)

    async def take(request: Request) -> Post:
        visitor = await check(request)
        form = await read_form(request)
        post = Post(visitor, form)
        if not is_token_of(request.state.relay.vault, request.cookies.get(COOKIE, ""), post.get(TOKEN_FIELD)):
            raise PermissionDenied("This form is no longer valid. Open the page again and repeat.")
        return post

    return take


async def read_form(request: Request) -> FormData:
    """The fields of a form of our own site. Raises PermissionDenied for one that comes from elsewhere."""
    refuse_other_sites(request)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise InvalidRequest("Forms come as application/x-www-form-urlencoded.")
    form = await request.form(max_files=0, max_fields=MOST_FIELDS)
    if any(isinstance(value, str) and "\0" in value for value in form.values()):
        raise InvalidRequest("A NUL character is not allowed.")
    return form


def refuse_other_sites(request: Request) -> None:
    """Every browser sends Origin with a form; its host must be the one that the request came to."""
    origin = request.headers.get("origin")
    if not origin or urlsplit(origin).netloc != request.headers.get("host", ""):
        raise PermissionDenied("This form was not sent from a page of this dashboard.")


def back(request: Request, url: str, message: str = "", *, good: bool = True) -> Response:
    """Lead to a page of ours, and have it show what was done."""
    response = RedirectResponse(url, 303)
    if message:
        flash(request, response, message, good=good)
    return response


Submitted = Annotated[Post, Depends(posts("submit"))]
SubmittedByReader = Annotated[Post, Depends(posts("read"))]
SubmittedByAdmin = Annotated[Post, Depends(posts("admin"))]
