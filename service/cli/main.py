"""All commands in one application. Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 timed out."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from service import __version__
from service.cli import (
    deliveries,
    doctor,
    endpoints,
    events,
    jobs,
    keys,
    maintenance,
    migrate,
    serve,
    setup,
    tryout,
    verify,
)
from service.cli.console import USAGE, CommandError
from service.errors import ConfigurationError, RelayError

app = typer.Typer(
    name="soniox-relay",
    help="A durable webhook receiver and submission relay for Soniox async speech-to-text.",
    epilog="Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 timed out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verbs in (
    serve,
    migrate,
    setup,
    doctor,
    keys,
    maintenance,
    jobs,
    endpoints,
    deliveries,
    events,
    verify,
    tryout,
):
    verbs.add_to(app)


def run() -> None:
    """Run the command that the arguments name, then exit."""
    try:
        app(prog_name="soniox-relay")
    except ConfigurationError as error:
        _leave(
            USAGE, "these settings are wrong:", *(f"  {line}" for line in (*error.problems, *_first_step(error)))
        )
    except CommandError as problem:
        _leave(problem.code, problem.message, *([f"  {problem.cure}"] if problem.cure else []))
    except RelayError as error:
        _leave(CommandError.code, str(error))


def _first_step(error: ConfigurationError) -> list[str]:
    """Return a hint for a new installation when a required setting is missing."""
    if not any(problem.endswith("is required and not set") for problem in error.problems):
        return []
    if Path(".env").exists():
        return ["put it into .env; .env.example explains each"]
    return ["`soniox-relay init` writes a .env to begin with"]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"soniox-relay {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def _leave(code: int, *lines: str) -> None:
    print("soniox-relay:", "\n".join(lines), file=sys.stderr)
    sys.exit(code)
