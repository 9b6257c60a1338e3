"""Sign-in sessions in signed cookies, the scopes that pages require, and protected forms."""

import base64
import binascii
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, NamedTuple
from urllib.parse import urlencode, urlsplit

from fastapi import Depends, Request, Response
from fastapi.responses import RedirectResponse
from starlette.datastructures import FormData

from service.crypto import SecretBox, hash_api_key
from service.errors import InvalidRequestError, PermissionDeniedError, UnauthenticatedError
from service.relay import Relay
from service.services.keys import BOOTSTRAP, SCOPES, Caller
from service.store import keys

SESSION_COOKIE = "relay_session"
SESSION_LASTS_S = 12 * 3600
SESSION_PURPOSE = "dashboard session"
TOKEN_PURPOSE = "dashboard form"  # noqa: S105  # the purpose of a signature, not a secret


@dataclass(frozen=True)
class KeyHolder:
    """A valid key: its caller, its name and its hash."""

    caller: Caller
    name: str
    digest: str


@dataclass(frozen=True)
class Session:
    """A signed-in browser. `token` proves that a form was rendered for this session."""

    caller: Caller
    name: str
    token: str

    @property
    def may_submit(self) -> bool:
        """True if the key may change its jobs."""
        return "submit" in self.caller.scopes or self.caller.is_admin


async def open_session(relay: Relay, owner: str) -> str:
    """Return the session cookie for the key of `owner`, which must already be checked.

    Raises UnauthenticatedError if the key was revoked since the check.
    """
    holder = await _holder(relay, owner)
    if holder is None:
        raise UnauthenticatedError("the key was revoked this very moment")
    content = f"{owner}.{relay.clock() // 1000 + SESSION_LASTS_S}.{secrets.token_urlsafe(16)}"
    return f"{content}.{relay.secret_box.sign(SESSION_PURPOSE, content + holder.digest)}"


async def read_session(relay: Relay, cookie: str) -> Session | None:
    """Return the session of a cookie, or None if it is forged or expired, or if its key is revoked."""
    content, _, signature = cookie.rpartition(".")
    owner, until_s = _parse(content)
    if until_s <= relay.clock() // 1000:
        return None
    holder = await _holder(relay, owner)
    if holder is None or not relay.secret_box.knows_signature(SESSION_PURPOSE, content + holder.digest, signature):
        return None
    return Session(holder.caller, holder.name, relay.secret_box.sign(TOKEN_PURPOSE, cookie))


def is_token_of(secret_box: SecretBox, cookie: str, token: str) -> bool:
    """True if `token` is the form token of the session in `cookie`."""
    return secret_box.knows_signature(TOKEN_PURPOSE, cookie, token)


def set_cookie(response: Response, request: Request, name: str, value: str, lasts_s: int) -> None:
    """Set an HttpOnly, SameSite=strict cookie for /ui. It is Secure if the service is reached over HTTPS."""
    response.set_cookie(
        name, value, lasts_s, path="/ui", secure=_is_https(request), httponly=True, samesite="strict"
    )


def _is_https(request: Request) -> bool:
    """True for HTTPS, either directly or through the proxy in front of PUBLIC_BASE_URL."""
    relay: Relay = request.state.relay
    public = relay.settings.base_url
    return request.url.scheme == "https" or public == f"https://{request.headers.get('host', '')}"


def _parse(content: str) -> tuple[str, int]:
    owner, _, rest = content.partition(".")
    until = rest.partition(".")[0]
    return owner, int(until) if until.isascii() and until.isdigit() and len(until) < 16 else 0


async def _holder(relay: Relay, owner: str) -> KeyHolder | None:
    if owner == BOOTSTRAP:
        key = relay.settings.relay_api_key
        caller = Caller(BOOTSTRAP, frozenset(SCOPES))
        return KeyHolder(caller, "RELAY_API_KEY", hash_api_key(key.get_secret_value())) if key else None
    found = await relay.db.read(lambda session: keys.get_valid(session, owner))
    return KeyHolder(Caller(found.id, frozenset(found.scopes)), found.name, found.hash) if found else None


FLASH_COOKIE = "relay_flash"
FLASH_LASTS_S = 20
MAX_FLASH = 600  # characters
FLASH_PURPOSE = "dashboard flash"


class Flash(NamedTuple):
    """A message for the next page; `good` is False for an error."""

    message: str
    good: bool


def flash(request: Request, response: Response, message: str, *, good: bool) -> None:
    """Show a message on the next page. It must not contain secrets."""
    content = base64.urlsafe_b64encode(f"{'+' if good else '-'}{message[:MAX_FLASH]}".encode()).decode()
    signature = request.state.relay.secret_box.sign(FLASH_PURPOSE, content)
    set_cookie(response, request, FLASH_COOKIE, f"{content}.{signature}", FLASH_LASTS_S)


def take_flash(request: Request) -> Flash | None:
    """Return the pending flash message, if any. The caller must delete the cookie in its response."""
    content, _, signature = request.cookies.get(FLASH_COOKIE, "").partition(".")
    if not content or not request.state.relay.secret_box.knows_signature(FLASH_PURPOSE, content, signature):
        return None
    try:
        text = base64.urlsafe_b64decode(content).decode()
    except (binascii.Error, ValueError):
        return None
    return Flash(text[1:], text[:1] == "+")


HOME = "/ui/"
SIGN_IN = "/ui/sign-in"


class SignInRequiredError(Exception):
    """The request has no session. `url` is the sign-in page, with the wanted page as `next`."""

    def __init__(self, wanted: str) -> None:
        super().__init__("sign in first")
        self.url = SIGN_IN if wanted == HOME else f"{SIGN_IN}?{urlencode({'next': wanted})}"


async def current_session(request: Request) -> Session:
    """Return the session of this request. Raises SignInRequiredError."""
    session = await read_session(request.state.relay, request.cookies.get(SESSION_COOKIE, ""))
    if session is None:
        raise SignInRequiredError(_wanted_page(request))
    request.state.visitor = session
    return session


def session_for(scope: str) -> Callable[[Request], Awaitable[Session]]:
    """Return a dependency that requires a key with `scope`. Admin keys have all scopes."""

    async def check(request: Request) -> Session:
        visitor = await current_session(request)
        if scope not in visitor.caller.scopes and not visitor.caller.is_admin:
            raise PermissionDeniedError(f"The key “{visitor.name}” lacks the scope “{scope}”.")
        return visitor

    return check


def _wanted_page(request: Request) -> str:
    """Return the requested page, or HOME for a form, which has no page to return to."""
    if request.method != "GET":
        return HOME
    query = f"?{request.url.query}" if request.url.query else ""
    return request.url.path + query


ReaderSession = Annotated[Session, Depends(session_for("read"))]
AdminSession = Annotated[Session, Depends(session_for("admin"))]

TOKEN_FIELD = "token"  # noqa: S105  # the name of a form field
MAX_FIELDS = 1_100  # enough for one page of selected rows


@dataclass(frozen=True)
class Post:
    """A form that passed the origin and token checks, with the session that sent it."""

    visitor: Session
    form: FormData

    def get(self, name: str) -> str:
        """Return a field, or an empty string if it is missing."""
        value = self.form.get(name, "")
        return value if isinstance(value, str) else ""

    def all(self, name: str) -> list[str]:
        """Return all values of a field with several checkboxes."""
        return [value for value in self.form.getlist(name) if isinstance(value, str)]


def form_for(scope: str) -> Callable[[Request], Awaitable[Post]]:
    """Return a dependency for a form that requires `scope`, our own origin and the session's token."""
    check = session_for(scope)

    async def take(request: Request) -> Post:
        visitor = await check(request)
        form = await read_form(request)
        post = Post(visitor, form)
        if not is_token_of(
            request.state.relay.secret_box, request.cookies.get(SESSION_COOKIE, ""), post.get(TOKEN_FIELD)
        ):
            raise PermissionDeniedError("This form is no longer valid. Open the page again and repeat.")
        return post

    return take


async def read_form(request: Request) -> FormData:
    """Return the fields of a form.

    Raises PermissionDeniedError for a form from another site and InvalidRequestError for a malformed one.
    """
    check_same_site(request)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise InvalidRequestError("Forms come as application/x-www-form-urlencoded.")
    form = await request.form(max_files=0, max_fields=MAX_FIELDS)
    if any(isinstance(value, str) and "\0" in value for value in form.values()):
        raise InvalidRequestError("A NUL character is not allowed.")
    return form


def check_same_site(request: Request) -> None:
    """Raise PermissionDeniedError unless the Origin of the form has the host of the request."""
    origin = request.headers.get("origin")
    if not origin or urlsplit(origin).netloc != request.headers.get("host", ""):
        raise PermissionDeniedError("This form was not sent from a page of this dashboard.")


def redirect_back(request: Request, url: str, message: str = "", *, good: bool = True) -> Response:
    """Redirect to a dashboard page (303) and show `message` there."""
    response = RedirectResponse(url, 303)
    if message:
        flash(request, response, message, good=good)
    return response


FormOfSubmitter = Annotated[Post, Depends(form_for("submit"))]
FormOfReader = Annotated[Post, Depends(form_for("read"))]
FormOfAdmin = Annotated[Post, Depends(form_for("admin"))]
