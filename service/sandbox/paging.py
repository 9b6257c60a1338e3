"""Pages of a listing, with a cursor that names a place in the order of creation and so outlives deletes."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from itertools import islice
from typing import Protocol, TypeVar

from service.sandbox.errors import invalid_cursor


class Ordered(Protocol):
    order: int


Item = TypeVar("Item", bound=Ordered)


def page_of(
    oldest_first: Iterable[Item], limit: int, cursor: str | None, *, newest_first: bool
) -> tuple[list[Item], str | None]:
    items = list(oldest_first)
    if newest_first:
        items.reverse()
    if cursor:
        after = order_of(cursor)
        items = [item for item in items if (item.order < after if newest_first else item.order > after)]
    page = list(islice(items, limit))
    return page, cursor_at(page[-1].order) if len(items) > limit else None


def cursor_at(order: int) -> str:
    return urlsafe_b64encode(f"after:{order}".encode()).decode()


def order_of(cursor: str) -> int:
    try:
        word, _, order = urlsafe_b64decode(cursor.encode()).decode().partition(":")
        if word == "after":
            return int(order)
    except ValueError:
        pass
    raise invalid_cursor()
