"""The verb that brings the schema up to date."""

import typer


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("migrate", rich_help_panel="Run it")(migrate)


def migrate() -> None:
    """Bring the database schema up to date. Safe to run again, and by several at once on PostgreSQL."""
    from service.cli.databases import bring_up_to_date
    from service.revisions import HEAD
    from service.settings import load_settings

    bring_up_to_date(load_settings())
    print(f"the schema is up to date ({HEAD})")
