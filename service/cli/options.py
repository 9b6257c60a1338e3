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
