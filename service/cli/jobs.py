"""Commands for transcriptions: submit, list, show, transcript, retry, delete."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from service.cli.client import RelayClient, job_path
from service.cli.console import (
    AsJson,
    CommandError,
    Cursor,
    JobId,
    Key,
    Limit,
    TimedOutError,
    Url,
    UsageError,
    split_commas,
)
from service.transcripts.exports import Format


def print_transcript(relay: RelayClient, job_id: str, shape: Format) -> None:
    """Print a transcript in the format `shape`, as the relay returns it."""
    text = relay.ask("GET", f"{job_path(job_id)}/transcript", params={"format": shape}).content.decode()
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


if TYPE_CHECKING:
    from rich.progress import Progress

    from service.cli.client import RelayClient

MODEL = "stt-async-v5"
POLL_EVERY_S = 2
FINAL = ("completed", "error")


def add_to(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command("submit", rich_help_panel="Talk to it")(submit)
    app.command("list", rich_help_panel="Talk to it")(list_page)
    for verb in (show, transcript, retry, delete):
        app.command(verb.__name__, rich_help_panel="Talk to it")(verb)


def submit(
    audio: Annotated[str, typer.Argument(metavar="FILE|URL", help="A recording here, or its http(s) address.")],
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end and print the transcript.")] = False,
    format: Annotated[Format, typer.Option(help="How --wait prints the transcript.")] = Format.TEXT,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="How long --wait waits.")] = 3600,
    model: Annotated[str, typer.Option(help="Soniox's model.")] = MODEL,
    metadata: Annotated[str, typer.Option(metavar="JSON", help="An object that comes back with the result.")] = "",
    reference: Annotated[str, typer.Option(help="Your own id for it, `client_reference_id`.")] = "",
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Submit a recording. Prints its id; with --wait its transcript; with --json the Transcription object."""
    from service.cli.client import connect
    from service.cli.console import print_json

    wishes = {"model": model, "client_reference_id": reference or None, "metadata": _object(metadata)}
    request = {name: value for name, value in wishes.items() if value is not None}
    with connect(url, key) as relay, _progress() as progress:
        job = _send(relay, progress, audio, request)
        if wait:
            job = _wait(relay, progress, job, timeout)
        if as_json:
            print_json(job)
        elif wait:
            print_transcript(relay, job["id"], format)
        else:
            print(job["id"])


def _object(text: str) -> dict[str, Any] | None:
    import json

    if not text:
        return None
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UsageError("--metadata is not a JSON object", """such as --metadata '{"case": 7}'""")
    return value


def _send(relay: "RelayClient", progress: "Progress", audio: str, request: dict[str, Any]) -> dict[str, Any]:
    import json

    from service.cli.client import JOBS

    if audio.startswith(("http://", "https://")):
        return dict(relay.ask("POST", JOBS, json={**request, "audio_url": audio}).json())
    path = Path(audio)
    if not path.is_file():
        raise UsageError(f"there is no file {audio}")
    with progress.open(path, "rb", description="uploading") as file:
        parts = {"request": (None, json.dumps(request)), "file": (path.name, file)}
        return dict(relay.ask("POST", JOBS, files=parts, timeout=None).json())


def _wait(relay: "RelayClient", progress: "Progress", job: dict[str, Any], timeout: float) -> dict[str, Any]:
    from service.cli.client import job_path

    deadline = time.monotonic() + timeout
    task = progress.add_task(job["stage"], total=None)
    while job["status"] not in FINAL:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            cure = f"it goes on: `soniox-relay show {job['id']}`; `soniox-relay doctor` may tell what it waits for"
            raise TimedOutError(f"{job['id']} is still {job['stage']} after {timeout:g} s", cure)
        job = relay.get(job_path(job["id"]), wait=min(POLL_EVERY_S, left_s))
        progress.update(task, description=job["stage"])
    if job["status"] == "error":
        raise CommandError(f"{job['id']} failed: {job['error_type']}: {job['error_message']}")
    return job


def _progress() -> "Progress":
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

    from service.cli.console import stderr_console

    console = stderr_console()
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn()
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


SHOWN_FIELDS = (
    *("id", "status", "stage", "model", "filename", "audio_duration_ms", "created_at", "soniox_id"),
    *("client_reference_id", "metadata", "error_type", "error_message", "webhook_url", "webhook_status_code"),
)

LISTED = {
    "id": "id",
    "status": "status",
    "stage": "stage",
    "created_at": "created",
    "filename": "file",
    "client_reference_id": "reference",
}
STEPS = {
    "at": "at",
    "step": "step",
    "source": "source",
    "http_status": "http",
    "duration_ms": "ms",
    "detail": "detail",
}


def list_page(
    limit: Limit = 20,
    cursor: Cursor = "",
    status: Annotated[
        list[str] | None, typer.Option(metavar="STATUS,...", help="queued, processing, completed, error.")
    ] = None,
    stage: Annotated[
        list[str] | None,
        typer.Option(metavar="STAGE,...", help="accepted, submitting, submitted, completed, failed."),
    ] = None,
    reference: Annotated[str | None, typer.Option(help="Only this `client_reference_id`.")] = None,
    created_after: Annotated[str | None, typer.Option(metavar="MOMENT", help="Such as 2026-11-20T13:00Z.")] = None,
    created_before: Annotated[str | None, typer.Option(metavar="MOMENT", help="Such as 2026-11-20.")] = None,
    order: Annotated[Literal["asc", "desc"], typer.Option(help="`desc`: newest first.")] = "desc",
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List transcriptions, newest first."""
    from service.cli.client import JOBS, connect, given
    from service.cli.console import print_page

    moments = {"created_after": created_after, "created_before": created_before}
    chosen = given(
        status=split_commas(status), stage=split_commas(stage), client_reference_id=reference, **moments
    )
    with connect(url, key) as relay:
        page = relay.get(JOBS, limit=limit, cursor=cursor, order=order, **chosen)
    print_page(page, "transcriptions", LISTED, as_json=as_json)


def show(job_id: JobId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Show one transcription and every step it took."""
    from service.cli.client import connect, job_path
    from service.cli.console import plain, print_json, print_listed, print_rows

    with connect(url, key) as relay:
        job = relay.get(job_path(job_id))
    if as_json:
        print_json(job)
        return
    print_rows(["", ""], [[name, plain(job[name])] for name in SHOWN_FIELDS if job[name] is not None])
    print()
    print_listed(job["timeline"], STEPS)


def transcript(
    job_id: JobId,
    format: Annotated[Format, typer.Option(help="How it is written.")] = Format.TEXT,
    url: Url = None,
    key: Key = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Print a transcript."""
    from service.cli.client import connect

    with connect(url, key) as relay:
        print_transcript(relay, job_id, Format.JSON if as_json else format)


def retry(job_id: JobId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Try a failed transcription again."""
    from service.cli.client import connect, job_path
    from service.cli.console import print_json

    with connect(url, key) as relay:
        job = relay.ask("POST", f"{job_path(job_id)}/retry").json()
    if as_json:
        print_json(job)
    else:
        print(f"{job['id']} is {job['stage']} again")


def delete(job_id: JobId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Delete a transcription here and at Soniox."""
    from service.cli.client import connect, job_path
    from service.cli.console import print_json

    with connect(url, key) as relay:
        relay.ask("DELETE", job_path(job_id))
    if as_json:
        print_json({"id": job_id, "deleted": True})
    else:
        print(f"{job_id} is deleted")
