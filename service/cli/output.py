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


def print_rows(headings: list[str], rows: list[list[str]]) -> None:
    """A table whose first column, the id, is never cut."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, heading in enumerate(headings):
        table.add_column(heading, no_wrap=number == 0, overflow="fold")
    for row in rows:
        table.add_row(*row)
    results().print(table, markup=False)
