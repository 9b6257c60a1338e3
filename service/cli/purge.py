"""The verb that deletes what is older than the retention, now and by hand."""

from typing import TYPE_CHECKING

import typer

from service.cli.options import AsJson

if TYPE_CHECKING:
    from service.settings import Settings


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("purge", rich_help_panel="Run it")(purge)


def purge(as_json: AsJson = False) -> None:
    """Delete finished transcriptions that are older than RELAY_RETENTION_DAYS.

    A running worker does it by itself, every ten minutes. Works on the database directly, whether or not a relay
    runs; a worker then removes Soniox's copies and sends the receipts.
    """
    import asyncio

    from service.cli.output import print_json
    from service.settings import load_settings
    from service.telemetry import configure_logs

    settings = load_settings()
    configure_logs("error", settings.log_format)
    count, days = asyncio.run(_purge(settings)), settings.relay_retention_days
    if as_json:
        print_json({"transcriptions": count, "retention_days": days})
    elif days:
        print(f"{count} transcriptions older than {days} days are deleted")
    else:
        print("nothing is deleted: RELAY_RETENTION_DAYS is 0, which keeps everything")


async def _purge(settings: "Settings") -> int:
    from service.cli.databases import open_here
    from service.services.maintenance import erase_deleted, purge_expired, remove_incomplete_uploads

    async with open_here(settings) as relay:
        count = await purge_expired(relay)
        await remove_incomplete_uploads(relay)
        await erase_deleted(relay)
    return count
