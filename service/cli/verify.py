"""The verb that checks a signature by hand."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from service.cli.options import AsJson
from service.cli.problems import Misused, Problem


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("verify", rich_help_panel="Talk to it")(verify)


def verify(
    event_id: Annotated[str, typer.Option("--id", help="The header `webhook-id`.")],
    timestamp: Annotated[str, typer.Option(help="The header `webhook-timestamp`.")],
    signature: Annotated[str, typer.Option(help="The header `webhook-signature`, whole.")],
    body: Annotated[
        str, typer.Argument(metavar="[FILE]", help="The body, byte for byte; - is standard input.")
    ] = "-",
    secret: Annotated[
        str, typer.Option(envvar="WEBHOOK_SECRET", help="The endpoint's; the variable keeps it private.")
    ] = "",
    tolerance: Annotated[
        int, typer.Option(metavar="SECONDS", min=0, help="How old it may be; 0 for any age.")
    ] = 300,
    as_json: AsJson = False,
) -> None:
    """Check the signature of an event by hand, and say which step fails. Needs no relay."""
    from service.cli.output import print_json, print_rows
    from service.cli.verifying import Request, check

    if not secret:
        raise Misused("no secret", "set WEBHOOK_SECRET or give --secret")
    steps = check(Request(event_id, timestamp, signature, _read(body)), secret, tolerance)
    failed = [step for step in steps if step.problem]
    if as_json:
        shown = [{"step": step.name, "ok": not step.problem, "problem": step.problem or None} for step in steps]
        print_json({"verified": not failed, "steps": shown})
    else:
        print_rows(["step", "result"], [[step.name, step.problem or "ok"] for step in steps])
    if failed:
        raise Problem(f"it does not verify: {failed[0].name}: {failed[0].problem}")


def _read(body: str) -> bytes:
    if body == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(body).read_bytes()
    except OSError as error:
        raise Misused(f"{body} cannot be read: {error.strerror}") from None
