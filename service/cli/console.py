"""What all commands share: options, errors with exit codes, printing."""

import json
import sys
from typing import Annotated, Any, ClassVar

import typer
from rich.console import Console
from rich.table import Table

from service.errors import RelayError

Url = Annotated[
    str | None,
    typer.Option(
        "--url", metavar="URL", help="The relay. [default: RELAY_URL, PUBLIC_BASE_URL, or HOST and PORT]"
    ),
]
Key = Annotated[str | None, typer.Option("--key", metavar="KEY", help="The API key. [default: RELAY_API_KEY]")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
JobId = Annotated[str, typer.Argument(metavar="ID", help="The transcription's id.")]
Limit = Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")]
Cursor = Annotated[str, typer.Option(help="Where the page before said that more begins.")]
Types = Annotated[
    list[str] | None,
    typer.Option("--types", metavar="TYPE,...", help="Only these types of events. [default: all]"),
]


def split_commas(values: list[str] | None) -> list[str]:
    """What was given several times or with commas."""
    return [part.strip() for value in values or [] for part in value.split(",") if part.strip()]


USAGE = 2


class CommandError(RelayError):
    """The command failed."""

    code: ClassVar[int] = 1

    def __init__(self, message: str, cure: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.cure = cure


class UsageError(CommandError):
    """The arguments make no sense."""

    code = USAGE


class TransientError(CommandError):
    """No answer now; asking again may get one."""


class MissingError(CommandError):
    """What was asked for does not exist."""

    code = 3


class TimedOutError(CommandError):
    """It did not happen in time; it still may."""

    code = 4


PIPE_WIDTH = 160


def stdout_console() -> Console:
    """For what was asked for."""
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False)


def stderr_console() -> Console:
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
        stderr_console().print(f"more: --cursor {page['next_page_cursor']}", markup=False, soft_wrap=True)


def print_rows(headings: list[str], rows: list[list[str]]) -> None:
    """A table whose first column, the id, is never cut."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, heading in enumerate(headings):
        table.add_column(heading, no_wrap=number == 0, overflow="fold")
    for row in rows:
        table.add_row(*row)
    stdout_console().print(table, markup=False)
