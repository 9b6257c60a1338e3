"""Commands that do maintenance by hand: purge, reconcile."""

from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.console import AsJson, CommandError, UsageError

if TYPE_CHECKING:
    from service.settings import Settings


def add_to(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command("purge", rich_help_panel="Run it")(purge)
    app.command("reconcile", rich_help_panel="Run it")(reconcile)


def purge(as_json: AsJson = False) -> None:
    """Delete finished transcriptions that are older than RELAY_RETENTION_DAYS.

    A running worker does it by itself, every ten minutes. Works on the database directly, whether or not a relay
    runs; a worker then removes Soniox's copies and sends the receipts.
    """
    import asyncio

    from service.cli.console import print_json
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
    from service.cli.database import open_here
    from service.services.maintenance import erase_deleted, purge_expired, remove_incomplete_uploads

    async with open_here(settings) as relay:
        count = await purge_expired(relay)
        await remove_incomplete_uploads(relay)
        await erase_deleted(relay)
    return count


if TYPE_CHECKING:
    from service.reconcile.sweep import Finding
    from service.settings import Settings

FINDING_COLUMNS = {
    "id": "id",
    "local_stage": "we think",
    "soniox_status_now": "Soniox says",
    "action": "action",
    "diagnosis": "why no webhook told",
}


def reconcile(
    once: Annotated[bool, typer.Option("--once", help="One sweep; a running relay sweeps on its own.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only look; change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask Soniox about every transcription whose webhook is overdue, and take in what it says.

    Works on the database directly, whether or not a relay runs; that relay then fetches what was found.
    """
    import asyncio

    from service.cli.console import print_json
    from service.settings import load_settings
    from service.telemetry import configure_logs

    if not once:
        raise UsageError("say --once", "a running relay sweeps on its own, every RELAY_RECONCILE_INTERVAL_S")
    settings = load_settings()
    configure_logs("error", settings.log_format)
    rows = [_row(find, dry_run=dry_run) for find in asyncio.run(_sweep(settings, dry_run=dry_run))]
    if as_json:
        print_json({"dry_run": dry_run, "transcriptions": rows})
    else:
        _print(rows)


async def _sweep(settings: "Settings", *, dry_run: bool) -> "list[Finding]":
    from service.cli.database import open_here
    from service.errors import SonioxError
    from service.reconcile.sweep import sweep

    async with open_here(settings) as relay:
        try:
            return await sweep(relay, dry_run=dry_run)
        except SonioxError as error:
            raise CommandError(f"Soniox cannot be asked: {error.message}") from error


def _row(find: "Finding", *, dry_run: bool) -> dict[str, str | None]:
    return {
        "id": find.job.id,
        "local_stage": find.job.stage,
        "soniox_status_now": find.status,
        "action": f"would {find.action}" if dry_run and find.actionable else find.action,
        "diagnosis": find.diagnosis if find.actionable else None,
    }


def _print(rows: list[dict[str, str | None]]) -> None:
    from service.cli.console import print_listed

    if not rows:
        print("nothing is overdue")
        return
    print_listed(rows, FINDING_COLUMNS)
