"""Commands for deliveries: list, show, retry."""

from typing import Annotated, Literal

import typer

from service.cli.console import AsJson, Cursor, Key, Limit, Url

DELIVERIES = "/v1/deliveries"
COLUMNS = {
    "id": "id",
    "status": "status",
    "attempt_count": "tries",
    "endpoint_id": "endpoint",
    "event_id": "event",
    "created_at": "created",
    "next_attempt_at": "next try",
    "last_error": "last error",
}
TRIES = {"at": "at", "status_code": "http", "duration_ms": "ms", "error": "error", "answer": "answer"}

DeliveryId = Annotated[str, typer.Argument(metavar="ID", help="The delivery's id.")]

deliveries = typer.Typer(help="What was sent where: list, show every try, send again.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    deliveries.command("list")(list_page)
    for verb in (show, retry):
        deliveries.command(verb.__name__)(verb)
    app.add_typer(deliveries, name="deliveries", rich_help_panel="Talk to it")


def list_page(
    endpoint: Annotated[str | None, typer.Option("--endpoint", "--endpoint-id", help="Only to this one.")] = None,
    status: Annotated[
        Literal["pending", "delivered", "exhausted"] | None, typer.Option(help="Only these.")
    ] = None,
    event: Annotated[str | None, typer.Option("--event", "--event-id", help="Only of this event.")] = None,
    limit: Limit = 20,
    cursor: Cursor = "",
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List deliveries, newest first."""
    from service.cli.client import connect, given
    from service.cli.console import print_page

    chosen = given(endpoint_id=endpoint, status=status, event_id=event)
    with connect(url, key) as relay:
        page = relay.get(DELIVERIES, limit=limit, cursor=cursor, **chosen)
    print_page(page, "deliveries", COLUMNS, as_json=as_json)


def show(delivery_id: DeliveryId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Show one delivery and every try."""
    from service.cli.client import connect, path_of
    from service.cli.console import plain, print_json, print_listed, print_rows

    with connect(url, key) as relay:
        delivery = relay.get(path_of(DELIVERIES, delivery_id))
    if as_json:
        print_json(delivery)
        return
    tries = delivery.pop("attempts")
    print_rows(["", ""], [[name, plain(value)] for name, value in delivery.items() if value is not None])
    print()
    print_listed(tries, TRIES)


def retry(delivery_id: DeliveryId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Send one again, also one that was delivered."""
    from service.cli.client import connect, path_of
    from service.cli.console import print_json

    with connect(url, key) as relay:
        delivery = relay.ask("POST", f"{path_of(DELIVERIES, delivery_id)}/retry").json()
    if as_json:
        print_json(delivery)
    else:
        print(f"{delivery['id']} is {delivery['status']} again")
