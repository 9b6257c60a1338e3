"""What the lists have in common: their query parameters, and the cursor to the next page."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Protocol

from fastapi import Depends, Query
from pydantic import AfterValidator

from service.api.auth import Reader
from service.api.cursors import decode, encode
from service.lifecycle import SonioxStatus, Stage
from service.store.browse import Wanted
from service.store.paging import Page

LARGEST_PAGE = 1000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Listed(Protocol):
    """A row of a list."""

    @property
    def id(self) -> str: ...
    @property
    def created_at_ms(self) -> int: ...


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("a NUL character is not allowed")
    return text


def _moment_ms(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("give a moment in RFC 3339, such as 2026-11-20T13:00:00Z") from None
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH) // timedelta(milliseconds=1)


Text = Annotated[str, AfterValidator(_without_nul)]
Moment = Annotated[str, AfterValidator(_moment_ms), Query(json_schema_extra={"format": "date-time"})]


def page_asked_for(
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="Most items of this page.")] = LARGEST_PAGE,
    cursor: Annotated[str, Query(description="`next_page_cursor` of the page before.")] = "",
    order: Annotated[Literal["asc", "desc"], Query(description="By creation: `desc` is newest first.")] = "desc",
) -> Page:
    """One row more than asked for: it tells whether there is a next page. Raises InvalidCursor."""
    return Page(limit + 1, decode(cursor), newest_first=order == "desc")
