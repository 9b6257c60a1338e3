"""The verb that submits a recording and, if asked to, waits for its transcript."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from service.cli.options import AsJson, Key, Url
from service.cli.problems import Misused, Problem, TimedOut

if TYPE_CHECKING:
    from rich.progress import Progress

    from service.cli.client import RelayClient

MODEL = "stt-async-v5"
LOOK_EVERY_S = 2
OVER = ("completed", "error")


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command("submit", rich_help_panel="Talk to it")(submit)


def submit(
    audio: Annotated[str, typer.Argument(metavar="FILE|URL", help="A recording here, or its http(s) address.")],
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end and print the transcript.")] = False,
    format: Annotated[
        Literal["text", "srt", "vtt", "json"], typer.Option(help="How --wait prints the transcript.")
    ] = "text",
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
    from service.cli.output import print_json
    from service.cli.transcripts import print_transcript

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
        raise Misused("--metadata is not a JSON object", """such as --metadata '{"case": 7}'""")
    return value


def _send(relay: "RelayClient", progress: "Progress", audio: str, request: dict[str, Any]) -> dict[str, Any]:
    import json

    from service.cli.client import JOBS

    if audio.startswith(("http://", "https://")):
        return dict(relay.ask("POST", JOBS, json={**request, "audio_url": audio}).json())
    path = Path(audio)
    if not path.is_file():
        raise Misused(f"there is no file {audio}")
    with progress.open(path, "rb", description="uploading") as file:
        parts = {"request": (None, json.dumps(request)), "file": (path.name, file)}
        return dict(relay.ask("POST", JOBS, files=parts, timeout=None).json())


def _wait(relay: "RelayClient", progress: "Progress", job: dict[str, Any], timeout: float) -> dict[str, Any]:
    from service.cli.client import job_path

    deadline = time.monotonic() + timeout
    task = progress.add_task(job["stage"], total=None)
    while job["status"] not in OVER:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            cure = f"it goes on: `soniox-relay show {job['id']}`; `soniox-relay doctor` may tell what it waits for"
            raise TimedOut(f"{job['id']} is still {job['stage']} after {timeout:g} s", cure)
        job = relay.get(job_path(job["id"]), wait=min(LOOK_EVERY_S, left_s))
        progress.update(task, description=job["stage"])
    if job["status"] == "error":
        raise Problem(f"{job['id']} failed: {job['error_type']}: {job['error_message']}")
    return job


def _progress() -> "Progress":
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

    from service.cli.output import asides

    console = asides()
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn()
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
