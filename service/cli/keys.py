"""Commands for API keys: through the API, or directly in the database, to create the first key."""

from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.console import AsJson, Key, Url, UsageError, split_commas

if TYPE_CHECKING:
    from service.cli.keyring import Keyring

COLUMNS = {
    "id": "id",
    "name": "name",
    "scopes": "scopes",
    "created_at": "created",
    "last_used_at": "last used",
}
SCOPES = ("submit", "read", "admin")

Local = Annotated[
    bool,
    typer.Option("--local", help="On the database of the settings; also done without a key while none exists."),
]

keys = typer.Typer(help="API keys: create, list, revoke.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    keys.command("list")(list_all)
    for verb in (create, revoke):
        keys.command(verb.__name__)(verb)
    app.add_typer(keys, name="keys", rich_help_panel="Set it up")


def create(
    name: Annotated[str, typer.Option("--name", help="For people: who uses it.")] = "unnamed",
    scopes: Annotated[
        list[str] | None,
        typer.Option(
            "--scopes", "--scope", metavar="SCOPE,...", help="submit, read, admin. [default: submit,read]"
        ),
    ] = None,
    local: Local = False,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. Shows it this once."""
    from service.cli.console import print_json, stderr_console

    wanted = split_commas(scopes) or ["submit", "read"]
    if unknown := [scope for scope in wanted if scope not in SCOPES]:
        raise UsageError(f"there is no scope {unknown[0]}", f"there are {', '.join(SCOPES)}")
    if not 1 <= len(name) <= 200:
        raise UsageError("--name has 1 to 200 characters")
    made = _keyring(url, key, local=local).create(name, wanted)
    if as_json:
        print_json(made)
        return
    print(made["id"])
    print(made["key"])
    stderr_console().print("the second line is the key; it is not shown again", markup=False)


def list_all(local: Local = False, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """List the valid keys, without what is secret of them."""
    from service.cli.console import print_json, print_listed

    found = _keyring(url, key, local=local).list_all()
    if as_json:
        print_json(found)
    else:
        print_listed(found["keys"], COLUMNS)


def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id.")],
    local: Local = False,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """End a key."""
    from service.cli.console import print_json

    _keyring(url, key, local=local).revoke(key_id)
    if as_json:
        print_json({"id": key_id, "revoked": True})
    else:
        print(f"{key_id} is revoked")


def _keyring(url: str | None, key: str | None, *, local: bool) -> "Keyring":
    """Return the local keyring for `local`, or while no key is given and none exists. Raises UsageError."""
    from service.cli.client import client_settings
    from service.cli.keyring import RemoteKeyring

    if local and (url or key):
        raise UsageError("--local works on the database", "leave out --url and --key")
    if not local and (key or url or client_settings().key):
        return RemoteKeyring(url, key)
    from service.cli.keyring import LocalKeyring, first_keyring

    return LocalKeyring() if local else first_keyring()
