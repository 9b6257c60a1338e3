"""Options, errors with exit codes, and output, shared by all commands."""

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
    """Return the parts of an option that is repeated or has commas."""
    return [part.strip() for value in values or [] for part in value.split(",") if part.strip()]


USAGE = 2


class CommandError(RelayError):
    """The command failed. `cure` says what to do about it, `code` is the exit code."""

    code: ClassVar[int] = 1

    def __init__(self, message: str, cure: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.cure = cure


class UsageError(CommandError):
    """The arguments are invalid."""

    code = USAGE


class TransientError(CommandError):
    """There is no usable answer now; a retry may succeed."""


class MissingError(CommandError):
    """The requested item does not exist."""

    code = 3


class TimedOutError(CommandError):
    """The expected result did not arrive in time, but still may."""

    code = 4


PIPE_WIDTH = 160


def stdout_console() -> Console:
    """Return the console for results."""
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False)


def stderr_console() -> Console:
    """Return the console for progress and messages."""
    return Console(stderr=True, highlight=False)


def print_json(value: Any) -> None:
    """Print one indented JSON document."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_line(value: Any) -> None:
    """Print one JSON document on one line and flush it, for output that is followed."""
    print(json.dumps(value, ensure_ascii=False), flush=True)


def plain(value: Any) -> str:
    """Return a value of the API as the text of a table cell."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def print_listed(items: list[dict[str, Any]], columns: dict[str, str]) -> None:
    """Print a table of objects. `columns` maps each field to its heading."""
    print_rows(list(columns.values()), [[plain(item[name]) for name in columns] for item in items])


def print_page(page: dict[str, Any], name: str, columns: dict[str, str], *, as_json: bool) -> None:
    """Print one page of a list, and the option that gets the next one."""
    if as_json:
        print_json(page)
        return
    print_listed(page[name], columns)
    if page["next_page_cursor"]:
        stderr_console().print(f"more: --cursor {page['next_page_cursor']}", markup=False, soft_wrap=True)


def print_rows(headings: list[str], rows: list[list[str]]) -> None:
    """Print a table whose first column, the id, does not wrap."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, heading in enumerate(headings):
        table.add_column(heading, no_wrap=number == 0, overflow="fold")
    for row in rows:
        table.add_row(*row)
    stdout_console().print(table, markup=False)
