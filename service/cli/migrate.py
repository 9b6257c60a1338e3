"""Commands that change the database: migrate, migrate-data."""

from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.console import AsJson


def add_to(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command("migrate", rich_help_panel="Run it")(migrate)
    app.command("migrate-data", rich_help_panel="Run it")(migrate_data)


def migrate(
    post_deploy: Annotated[
        bool,
        typer.Option("--post-deploy", help="Also take away what only older releases use; none may run any more."),
    ] = False,
) -> None:
    """Bring the database schema up to date; what runs goes on running meanwhile.

    Safe to run again, and by several at once on PostgreSQL.
    """
    from service.cli.database import bring_up_to_date
    from service.db.schema import HEAD, REQUIRED
    from service.settings import load_settings

    wanted = HEAD if post_deploy else REQUIRED
    bring_up_to_date(load_settings(), wanted)
    print(f"the schema is up to date ({wanted})")
    if wanted != HEAD:
        print(f"to {HEAD}: `soniox-relay migrate --post-deploy`, once no older release runs")


if TYPE_CHECKING:
    from service.settings import Settings


def migrate_data(
    source: Annotated[str, typer.Option("--from", help="The SQLite database, such as sqlite:///relay.db.")],
    target: Annotated[str, typer.Option("--to", help="The PostgreSQL database, new or empty.")],
    as_json: AsJson = False,
) -> None:
    """Copy everything from SQLite to an empty PostgreSQL, whose schema is set up on the way.

    Stop the relay first. It is one transaction: when it fails, nothing has happened, and the SQLite file is never
    changed. A password may stay out of the command line: PGPASSWORD, or ~/.pgpass.
    """
    import asyncio

    from service.cli.console import print_json, print_rows
    from service.cli.database import bring_up_to_date, refused_is_a_problem
    from service.db.engines import single_process_lock
    from service.db.schema import HEAD
    from service.services.maintenance import move_data

    old, new = _target_database("--from", source, "sqlite"), _target_database("--to", target, "postgres")
    with single_process_lock(old), refused_is_a_problem():
        bring_up_to_date(new, HEAD)
        rows = asyncio.run(move_data(source, target))
    if as_json:
        print_json(rows)
        return
    print_rows(["table", "rows"], [[name, str(number)] for name, number in rows.items() if number])
    print("all of it is there; set DATABASE_URL to the new one before you start the relay again")


def _target_database(option: str, url: str, kind: str) -> "Settings":
    from pathlib import Path

    from service.cli.console import UsageError
    from service.settings import Settings

    if not url.startswith(kind):
        raise UsageError(f"{option} must begin with {kind}")
    if kind == "sqlite" and not Path(url.split("///", 1)[-1]).is_file():
        raise UsageError(f"{option}: there is no such file")
    return Settings.model_construct(database_url=url)
