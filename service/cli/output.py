"""Where a command's words go: results to stdout, everything else to stderr."""

import json
import sys
from typing import Any

from rich.console import Console
from rich.table import Table

WIDTH_OF_A_PIPE = 160


def results() -> Console:
    """For what was asked for."""
    return Console(width=None if sys.stdout.isatty() else WIDTH_OF_A_PIPE, highlight=False)


def asides() -> Console:
    """For progress and remarks."""
    return Console(stderr=True, highlight=False)


def print_json(value: Any) -> None:
    """One document, readable and exact."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_line(value: Any) -> None:
    """One document in one line, at once: for what is followed while it goes on."""
    print(json.dumps(value, ensure_ascii=False), flush=True)


def plain(value: Any) -> str:
    """A value of the API in a cell."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def print_listed(items: list[dict[str, Any]], columns: dict[str, str]) -> None:
    """A table of objects; `columns` has the heading of each field."""
    print_rows(list(columns.values()), [[plain(item[name]) for name in columns] for item in items])


def print_page(page: dict[str, Any], name: str, columns: dict[str, str], *, as_json: bool) -> None:
    """A page of a list, and how to get the next one."""
    if as_json:
        print_json(page)
        return
    print_listed(page[name], columns)
    if page["next_page_cursor"]:
        asides().print(f"more: --cursor {page['next_page_cursor']}", markup=False, soft_wrap=True)


def print_rows(headings: list[str], rows: list[list[str]]) -> None:
    """A table whose first column, the id, is never cut."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, heading in enumerate(headings):
        table.add_column(heading, no_wrap=number == 0, overflow="fold")
    for row in rows:
        table.add_row(*row)
    results().print(table, markup=False)
