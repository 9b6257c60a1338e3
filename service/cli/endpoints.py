"""Commands for endpoints, the addresses that events are sent to."""

from typing import Annotated, Any, Literal

import typer

from service.cli.console import AsJson, CommandError, Cursor, Key, Limit, Types, Url, UsageError, split_commas

ENDPOINTS = "/v1/endpoints"
COLUMNS = {
    "id": "id",
    "enabled": "enabled",
    "url": "url",
    "event_types": "types",
    "include": "include",
    "disabled_reason": "why disabled",
}

EndpointId = Annotated[str, typer.Argument(metavar="ID", help="The endpoint's id.")]

endpoints = typer.Typer(help="Where events are sent: add, list, try out, pause, recover.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    endpoints.command("list")(list_page)
    endpoints.command("test")(send_ping)
    endpoints.command("rotate-secret")(rotate_secret)
    for verb in (add, pause, resume, recover, remove):
        endpoints.command(verb.__name__)(verb)
    app.add_typer(endpoints, name="endpoints", rich_help_panel="Talk to it")


def add(
    address: Annotated[str, typer.Argument(metavar="URL", help="Where to send events.")],
    types: Types = None,
    include: Annotated[
        Literal["none", "text", "transcript"], typer.Option(help="What of the transcript goes with an event.")
    ] = "none",
    description: Annotated[str | None, typer.Option(help="For people.")] = None,
    header: Annotated[
        list[str] | None, typer.Option(metavar="'NAME: VALUE'", help="A header of your own; repeatable.")
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Most deliveries begun in a second.")] = None,
    max_in_flight: Annotated[int | None, typer.Option(help="Most deliveries under way at once.")] = None,
    paused: Annotated[bool, typer.Option("--paused", help="Hold events until `resume`.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Add an endpoint. Shows the secret that signs its events, this once."""
    from service.cli.client import connect, given

    limits = {"rate_per_s": rate, "max_in_flight": max_in_flight}
    wishes = given(event_types=split_commas(types), description=description, headers=_headers(header), **limits)
    with connect(url, key) as relay:
        body = {"url": address, "include": include, "enabled": not paused, **wishes}
        _print_secret(relay.ask("POST", ENDPOINTS, json=body).json(), as_json=as_json)


def list_page(
    limit: Limit = 20, cursor: Cursor = "", url: Url = None, key: Key = None, as_json: AsJson = False
) -> None:
    """List endpoints, newest first."""
    from service.cli.client import connect
    from service.cli.console import print_page

    with connect(url, key) as relay:
        page = relay.get(ENDPOINTS, limit=limit, cursor=cursor)
    print_page(page, "endpoints", COLUMNS, as_json=as_json)


def send_ping(endpoint_id: EndpointId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Send a `ping` now, on the way that events go; fails unless it is answered 2xx."""
    from service.cli.client import connect, path_of
    from service.cli.console import print_json

    with connect(url, key) as relay:
        outcome = relay.ask("POST", f"{path_of(ENDPOINTS, endpoint_id)}/test").json()
    attempt = outcome["attempt"]
    if as_json:
        print_json(outcome)
    if not outcome["delivered"]:
        cause = attempt["error"] or f"it answered {attempt['status_code']}"
        raise CommandError(f"the ping failed: {cause}")
    if not as_json:
        print(f"delivered: {attempt['status_code']} after {attempt['duration_ms']} ms")


def pause(endpoint_id: EndpointId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Send it nothing until `resume`; its events are held."""
    _enable(endpoint_id, url, key, enabled=False, as_json=as_json)


def resume(endpoint_id: EndpointId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Send it everything that was held, and go on."""
    _enable(endpoint_id, url, key, enabled=True, as_json=as_json)


def rotate_secret(
    endpoint_id: EndpointId,
    overlap: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="How long the old one still signs. [default: a day]")
    ] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Give it a new secret, shown this once; the old one signs beside it for a while."""
    from service.cli.client import connect, given, path_of

    with connect(url, key) as relay:
        path = f"{path_of(ENDPOINTS, endpoint_id)}/rotate-secret"
        _print_secret(relay.ask("POST", path, json=given(overlap_s=overlap)).json(), as_json=as_json)


def recover(
    endpoint_id: EndpointId,
    since: Annotated[str, typer.Option(metavar="MOMENT", help="From when on, such as 2026-11-20T13:00Z.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Send again everything since a moment that was not delivered."""
    from service.cli.client import connect, path_of
    from service.cli.console import print_json

    with connect(url, key) as relay:
        order = {"since": since, "dry_run": dry_run}
        found = relay.ask("POST", f"{path_of(ENDPOINTS, endpoint_id)}/recover", json=order).json()
    if as_json:
        print_json(found)
    else:
        print(f"{found['count']} deliveries {'would be' if dry_run else 'are'} sent again")


def remove(endpoint_id: EndpointId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Delete an endpoint."""
    from service.cli.client import connect, path_of
    from service.cli.console import print_json

    with connect(url, key) as relay:
        relay.ask("DELETE", path_of(ENDPOINTS, endpoint_id))
    if as_json:
        print_json({"id": endpoint_id, "deleted": True})
    else:
        print(f"{endpoint_id} is deleted")


def _enable(endpoint_id: str, url: str | None, key: str | None, *, enabled: bool, as_json: bool) -> None:
    from service.cli.client import connect, path_of
    from service.cli.console import print_json

    with connect(url, key) as relay:
        endpoint = relay.ask("PATCH", path_of(ENDPOINTS, endpoint_id), json={"enabled": enabled}).json()
    if as_json:
        print_json(endpoint)
    else:
        print(f"{endpoint['id']} is {'enabled' if enabled else 'paused'}")


def _headers(given: list[str] | None) -> dict[str, str] | None:
    """Parse `NAME: VALUE` headers. Raises UsageError, which does not repeat a value that may be secret."""
    parted = [header.partition(":") for header in given or []]
    if not all(colon and name.strip() for name, colon, _ in parted):
        raise UsageError("a --header has no name and colon", "such as --header 'Authorization: Bearer ...'")
    return {name.strip(): value.strip() for name, _, value in parted} or None


def _print_secret(endpoint: dict[str, Any], *, as_json: bool) -> None:
    from service.cli.console import print_json, stderr_console

    if as_json:
        print_json(endpoint)
        return
    print(endpoint["id"])
    print(endpoint["secret"])
    stderr_console().print("the second line is its secret; it is not shown again", markup=False)
