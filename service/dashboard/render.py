"""Pages drawn from templates. Every value is escaped; a name that is missing is an error, not an empty string."""

from dataclasses import dataclass
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from service import __version__
from service.clock import iso
from service.dashboard import words
from service.dashboard.assets import asset_url
from service.dashboard.flash import COOKIE as FLASH_COOKIE
from service.dashboard.flash import take_flash
from service.dashboard.sessions import Session


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
        "utc": words.utc,
        "ago": words.ago,
        "span": words.span,
        "rough": words.rough,
        "span_fine": words.span_fine,
        "clip": words.clip,
        "size": words.size,
        "count": words.count,
        "clock": words.clock,
        "percent": words.percent,
        "ms": words.ms,
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
