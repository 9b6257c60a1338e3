"""Commands for the relay's settings and interface: init, config, openapi."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli.console import AsJson, CommandError

FIRST_SETTINGS = """\
# Written by `soniox-relay init`. Every setting there is: .env.example; what holds now: `soniox-relay config`.

# From console.soniox.com
SONIOX_API_KEY={soniox_key}

# What Soniox must send to be believed is derived from this. Keep it: endpoint secrets are sealed with it.
SONIOX_API_WEBHOOK_SECRET={webhook_secret}

# Your own key for the relay's API, with all rights
RELAY_API_KEY={relay_key}

# Where Soniox reaches the relay, such as https://relay.example.com
PUBLIC_BASE_URL=
"""


def add_to(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for verb in (init, config, openapi):
        app.command(verb.__name__, rich_help_panel="Set it up")(verb)


def init(
    path: Annotated[Path, typer.Option("--file", help="The file to write.")] = Path(".env"),
    soniox_key: Annotated[str, typer.Option("--soniox-key", help="Your Soniox key, to write it as well.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file; its secrets are lost.")] = False,
) -> None:
    """Write a `.env` with fresh secrets, readable only by you."""
    import secrets

    from service.crypto import new_api_key

    text = FIRST_SETTINGS.format(
        soniox_key=soniox_key, webhook_secret=secrets.token_urlsafe(32), relay_key=new_api_key()
    )
    _write_privately(path, text, force=force)
    print(f"{path} is written" + ("" if soniox_key else "; put your SONIOX_API_KEY into it"))


def config(as_json: AsJson = False) -> None:
    """Show the settings that hold, secrets masked, and where each comes from."""
    from service.cli.console import print_json, print_rows
    from service.settings import load_settings, settings_in_force

    settings = settings_in_force(load_settings())
    if as_json:
        print_json({name: {"value": value, "source": source} for name, value, source in settings})
    else:
        print_rows(["name", "value", "source"], [list(setting) for setting in settings])


def openapi() -> None:
    """Print the API's OpenAPI document. Needs no settings."""
    from service.app import create_app
    from service.cli.console import print_json
    from service.settings import Settings

    print_json(create_app(Settings.model_construct()).openapi())


def _write_privately(path: Path, text: str, *, force: bool) -> None:
    """Create the file with mode 0600 and replace an old one atomically. Raises CommandError."""
    import os

    if path.exists() and not force:
        raise CommandError(f"{path} exists and is left alone", "--force overwrites it, and its secrets are lost")
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        fresh.replace(path)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}") from None
