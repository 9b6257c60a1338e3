"""Templates rendered: every value is escaped, and a missing name is an error."""

import hashlib
import html
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from mimetypes import guess_type
from typing import Any, NamedTuple, Protocol

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import BeforeValidator

from service import __version__
from service.api.pagination import encode_cursor
from service.clock import iso
from service.dashboard import format
from service.dashboard.session import FLASH_COOKIE, Session, take_flash

FOLDERS = ("", "vendor/")
ASSET_TYPES = (".js", ".css", ".svg")


class Asset(NamedTuple):
    """A file as it is served."""

    content: bytes
    kind: str
    digest: str


@cache
def assets() -> dict[str, Asset]:
    """All of them by name, such as `vendor/htmx-4.0.1.min.js`."""
    root = files("service.dashboard") / "static"
    return {
        prefix + file.name: _read(file)
        for prefix in FOLDERS
        for file in (root / prefix).iterdir()
        if file.name.endswith(ASSET_TYPES)
    }


def asset_url(name: str) -> str:
    """Where a page finds it."""
    return f"/ui/static/{assets()[name].digest}/{name}"


def _read(file: Traversable) -> Asset:
    content = file.read_bytes()
    kind, _ = guess_type(file.name)
    return Asset(content, kind or "application/octet-stream", hashlib.sha256(content).hexdigest()[:12])


OptionalText = BeforeValidator(lambda value: None if value == "" else value)
"""A field of a form that nothing was entered into asks for nothing."""


class ListLinks(Protocol):
    """A row of a list in order of creation."""

    created_at_ms: int
    id: str


def first_page(request: Request) -> str:
    """The same list from its beginning."""
    return _address(request.url.path, request.url.remove_query_params("cursor").query)


def page_after(request: Request, row: ListLinks) -> str:
    """The same list behind this row."""
    return page_at(request, encode_cursor(row.created_at_ms, row.id))


def page_at(request: Request, cursor: str) -> str:
    """The same list from a cursor on."""
    return _address(request.url.path, request.url.include_query_params(cursor=cursor).query)


def _address(path: str, query: str) -> str:
    return f"{path}?{query}" if query else path


MARK = re.compile(r"<mark>(.*?)</mark>", re.DOTALL)


class SnippetPart(NamedTuple):
    """Some text, and whether it is what was searched for."""

    text: str
    hit: bool


def snippet_parts(snippet: str) -> list[SnippetPart]:
    """The snippet that `transcripts.hits` made, as plain text in parts."""
    pieces = MARK.split(snippet)
    return [SnippetPart(html.unescape(piece), n % 2 == 1) for n, piece in enumerate(pieces) if piece]


@dataclass(frozen=True)
class Link:
    """A page in the navigation; some are for admin keys only, as what they show belongs to no single key."""

    url: str
    title: str
    icon: str
    admin: bool = False


NAVIGATION = (
    Link("/ui/", "Overview", "pulse"),
    Link("/ui/jobs", "Jobs", "list"),
    Link("/ui/search", "Search", "search"),
    Link("/ui/deliveries", "Deliveries", "send"),
    Link("/ui/endpoints", "Endpoints", "target"),
    Link("/ui/inbox", "Inbox", "inbox", admin=True),
    Link("/ui/reconciler", "Reconciler", "sweep", admin=True),
    Link("/ui/system", "System", "gear", admin=True),
    Link("/ui/keys", "Keys", "key", admin=True),
)


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("service.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"asset": asset_url, "version": __version__}
    made.filters |= {
        "iso": iso,
        "utc": format.utc,
        "ago": format.ago,
        "span": format.duration,
        "rough": format.approximately,
        "span_fine": format.fine_duration,
        "clip": format.truncate,
        "size": format.size,
        "count": format.count,
        "clock": format.clock_time,
        "percent": format.percent,
        "ms": format.ms,
    }
    return made


TEMPLATES = _environment()


def render(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """One page. Templates also know `visitor` (None before the sign-in), `now_ms`, `here` and `flash`."""
    visitor: Session | None = getattr(request.state, "visitor", None)
    said = take_flash(request)
    html = TEMPLATES.get_template(template).render(
        request_id=request.state.request_id,
        visitor=visitor,
        navigation=_navigation(visitor, request.url.path),
        here=_here(request),
        now_ms=request.state.relay.clock(),
        flash=said,
        **values,
    )
    response = HTMLResponse(html, status)
    if said:
        response.delete_cookie(FLASH_COOKIE, path="/ui")
    return response


def _navigation(visitor: Session | None, path: str) -> list[tuple[Link, bool]]:
    """The pages this visitor may open, and which of them this is."""
    if visitor is None:
        return []
    links = [link for link in NAVIGATION if visitor.caller.is_admin or not link.admin]
    current = max((link.url for link in links if _is_below(path, link.url)), key=len, default="")
    return [(link, link.url == current) for link in links]


def _is_below(path: str, url: str) -> bool:
    return path == url or (url != "/ui/" and path.startswith(f"{url}/"))


def _here(request: Request) -> str:
    """The address of this view, for what draws it anew."""
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")
