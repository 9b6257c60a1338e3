"""Template rendering, assets and links. Every value is escaped, and an undefined name is an error."""

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
    """A static file: its content, media type and the start of its SHA-256."""

    content: bytes
    kind: str
    digest: str


@cache
def assets() -> dict[str, Asset]:
    """Return all assets by name, such as `vendor/htmx-4.0.1.min.js`."""
    root = files("service.dashboard") / "static"
    return {
        prefix + file.name: _read(file)
        for prefix in FOLDERS
        for file in (root / prefix).iterdir()
        if file.name.endswith(ASSET_TYPES)
    }


def asset_url(name: str) -> str:
    """Return the URL of an asset, which contains its hash."""
    return f"/ui/static/{assets()[name].digest}/{name}"


def _read(file: Traversable) -> Asset:
    content = file.read_bytes()
    kind, _ = guess_type(file.name)
    return Asset(content, kind or "application/octet-stream", hashlib.sha256(content).hexdigest()[:12])


OptionalText = BeforeValidator(lambda value: None if value == "" else value)
"""A field of a form that nothing was entered into asks for nothing."""


class ListLinks(Protocol):
    """A row of a list that is sorted by creation."""

    created_at_ms: int
    id: str


def first_page(request: Request) -> str:
    """Return the URL of the first page of the same list."""
    return _address(request.url.path, request.url.remove_query_params("cursor").query)


def page_after(request: Request, row: ListLinks) -> str:
    """Return the URL of the page after `row`."""
    return page_at(request, encode_cursor(row.created_at_ms, row.id))


def page_at(request: Request, cursor: str) -> str:
    """Return the URL of the page after `cursor`."""
    return _address(request.url.path, request.url.include_query_params(cursor=cursor).query)


def _address(path: str, query: str) -> str:
    return f"{path}?{query}" if query else path


MARK = re.compile(r"<mark>(.*?)</mark>", re.DOTALL)


class SnippetPart(NamedTuple):
    """A part of a snippet; `hit` is True for a match."""

    text: str
    hit: bool


def snippet_parts(snippet: str) -> list[SnippetPart]:
    """Split a snippet of `passages.snippet` into parts of plain text."""
    pieces = MARK.split(snippet)
    return [SnippetPart(html.unescape(piece), n % 2 == 1) for n, piece in enumerate(pieces) if piece]


@dataclass(frozen=True)
class Link:
    """A page in the navigation. Pages whose content belongs to no single key are for admin keys only."""

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
    """Render a page. Templates also get `visitor` (None before the sign-in), `now_ms`, `here` and `flash`."""
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
    """Return the links this visitor may open, each with True if it is the current page."""
    if visitor is None:
        return []
    links = [link for link in NAVIGATION if visitor.caller.is_admin or not link.admin]
    current = max((link.url for link in links if _is_below(path, link.url)), key=len, default="")
    return [(link, link.url == current) for link in links]


def _is_below(path: str, url: str) -> bool:
    return path == url or (url != "/ui/" and path.startswith(f"{url}/"))


def _here(request: Request) -> str:
    """Return the URL of this view, which a live page requests to refresh."""
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")
