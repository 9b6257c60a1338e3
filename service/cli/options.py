"""Options that several verbs share."""

from typing import Annotated

import typer

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


def several(values: list[str] | None) -> list[str]:
    """What was given several times or with commas."""
    return [part.strip() for value in values or [] for part in value.split(",") if part.strip()]
