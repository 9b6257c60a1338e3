"""The verb that brings the schema up to date."""

from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("migrate", rich_help_panel="Run it")(migrate)


def migrate(
    post_deploy: Annotated[
        bool,
        typer.Option("--post-deploy", help="Also take away what only older releases use; none may run any more."),
    ] = False,
) -> None:
    """Bring the database schema up to date; what runs goes on running meanwhile.

    Safe to run again, and by several at once on PostgreSQL.
    """
    from service.cli.databases import bring_up_to_date
    from service.db.schema import HEAD, REQUIRED
    from service.settings import load_settings

    wanted = HEAD if post_deploy else REQUIRED
    bring_up_to_date(load_settings(), wanted)
    print(f"the schema is up to date ({wanted})")
    if wanted != HEAD:
        print(f"to {HEAD}: `soniox-relay migrate --post-deploy`, once no older release runs")
