"""Commands that follow events as they happen: `events tail`, and `listen` for developers behind NAT."""

from typing import Annotated, Any

import typer

from service.cli.console import AsJson, Key, Types, Url, UsageError, split_commas

After = Annotated[
    str | None,
    typer.Option(metavar="ID", help="The last event you have; '' begins with the first. [default: from now on]"),
]

events = typer.Typer(help="The log of events.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    events.command("tail")(tail)
    app.add_typer(events, name="events", rich_help_panel="Talk to it")
    app.command("listen", rich_help_panel="Talk to it")(listen)


def tail(
    after: After = None, types: Types = None, url: Url = None, key: Key = None, as_json: AsJson = False
) -> None:
    """Print events as they happen, until Ctrl-C; goes on where it was when the connection breaks."""
    from contextlib import suppress

    from service.cli.client import connect
    from service.cli.console import print_line
    from service.cli.event_stream import follow

    with connect(url, key) as relay, suppress(KeyboardInterrupt):
        for event in follow(relay, after, split_commas(types)):
            if as_json:
                print_line(event)
            else:
                print(event["timestamp"], event["type"], event["id"], _event_subject(event), flush=True)


def listen(
    forward_to: Annotated[str, typer.Option("--forward-to", metavar="URL", help="Your own server.")],
    types: Types = None,
    after: After = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Send every event to a server of yours that the relay cannot reach, signed, until Ctrl-C.

    Prints the secret it signs with, which is new each time. Each event is sent once, as an endpoint would get it;
    the status of each is shown, and after a failure it goes on. --json prints a line for the start and for each.
    """
    from contextlib import suppress

    from service.cli.client import connect
    from service.cli.console import print_line
    from service.cli.event_stream import follow, open_forwarder
    from service.crypto import new_endpoint_secret

    if not forward_to.startswith(("http://", "https://")):
        raise UsageError("--forward-to is not an http:// or https:// URL")
    secret = new_endpoint_secret()
    with connect(url, key) as relay, open_forwarder(forward_to, secret) as forward, suppress(KeyboardInterrupt):
        if as_json:
            print_line({"forward_to": forward_to, "secret": secret})
        else:
            print(f"events go to {forward_to}, signed with the secret\n{secret}", flush=True)
        for event in follow(relay, after, split_commas(types)):
            outcome = forward(event)
            if as_json:
                print_line(outcome)
            else:
                came = outcome["status_code"] or outcome["error"]
                print(
                    event["type"],
                    event["id"],
                    _event_subject(event),
                    f"{came}, {outcome['duration_ms']} ms",
                    flush=True,
                )


def _event_subject(event: dict[str, Any]) -> str:
    """Return the id of the object that the event is about."""
    data = event["data"]
    return str(data.get("id") or data.get("endpoint_id") or "")
