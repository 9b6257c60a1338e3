"""Pages of a list, by keyset: what is inserted or deleted between two pages neither repeats nor skips a row."""

from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Table, tuple_
from sqlmodel.sql.expression import SelectOfScalar

Row = TypeVar("Row")


@dataclass(frozen=True)
class Page:
    """Which part of a list: `limit` rows beyond `after` = (created_at_ms, id) in the chosen order."""

    limit: int
    after: tuple[int, str] | None = None
    newest_first: bool = True


def cut(query: SelectOfScalar[Row], table: Table, page: Page) -> SelectOfScalar[Row]:
    """The rows of one page in order, and one more if there is one; `table` has `created_at_ms` and `id`."""
    columns = (table.c.created_at_ms, table.c.id)
    if page.after is not None:
        position = tuple_(*columns)
        query = query.where(position < page.after if page.newest_first else position > page.after)
    ordered = query.order_by(*[column.desc() if page.newest_first else column for column in columns])
    return ordered.limit(page.limit + 1)
