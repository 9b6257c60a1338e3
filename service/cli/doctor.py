"""The command `doctor`: try out everything that the relay needs to work."""

from typing import TYPE_CHECKING

import typer

from service.cli.console import AsJson, CommandError

if TYPE_CHECKING:
    from service.cli.checks import CheckResult


def add_to(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("doctor", rich_help_panel="Set it up")(doctor)


def doctor(as_json: AsJson = False) -> None:
    """Try out settings, database, clock, Soniox and the public URL, and print the cure of what fails.

    Run it where the relay runs, with the relay's settings and while it runs.
    """
    import asyncio

    from service.cli.checks import run_checks
    from service.cli.console import print_json, print_rows

    findings = asyncio.run(run_checks())
    failed = [finding.name for finding in findings if not finding.ok]
    if as_json:
        print_json({"ok": not failed, "checks": [_shown(finding) for finding in findings]})
    else:
        rows = [
            [f.name, "ok" if f.ok else "FAILED", f.detail + (f"\n{f.cure}" if f.cure else "")] for f in findings
        ]
        print_rows(["check", "result", "what was found"], rows)
    if failed:
        raise CommandError(f"{len(failed)} of {len(findings)} checks failed: {', '.join(dict.fromkeys(failed))}")


def _shown(finding: "CheckResult") -> dict[str, object]:
    return {"check": finding.name, "ok": finding.ok, "detail": finding.detail, "cure": finding.cure or None}
