"""The verbs about transcriptions that were submitted: list, show, transcript, retry, delete."""

from typing import Annotated, Literal

import typer

from service.cli.options import AsJson, Cursor, JobId, Key, Limit, Url, several

WORTH_SHOWING = (
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


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    app.command("list", rich_help_panel="Talk to it")(list_page)
    for verb in (show, transcript, retry, delete):
        app.command(verb.__name__, rich_help_panel="Talk to it")(verb)


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
    from service.cli.output import print_page

    moments = {"created_after": created_after, "created_before": created_before}
    chosen = given(status=several(status), stage=several(stage), client_reference_id=reference, **moments)
    with connect(url, key) as relay:
        page = relay.get(JOBS, limit=limit, cursor=cursor, order=order, **chosen)
    print_page(page, "transcriptions", LISTED, as_json=as_json)


def show(job_id: JobId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Show one transcription and every step it took."""
    from service.cli.client import connect, job_path
    from service.cli.output import plain, print_json, print_listed, print_rows

    with connect(url, key) as relay:
        job = relay.get(job_path(job_id))
    if as_json:
        print_json(job)
        return
    print_rows(["", ""], [[name, plain(job[name])] for name in WORTH_SHOWING if job[name] is not None])
    print()
    print_listed(job["timeline"], STEPS)


def transcript(
    job_id: JobId,
    format: Annotated[
        Literal["text", "srt", "vtt", "csv", "segments", "json"], typer.Option(help="How it is written.")
    ] = "text",
    url: Url = None,
    key: Key = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Print a transcript."""
    from service.cli.client import connect
    from service.cli.transcripts import print_transcript

    with connect(url, key) as relay:
        print_transcript(relay, job_id, "json" if as_json else format)


def retry(job_id: JobId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Try a failed transcription again."""
    from service.cli.client import connect, job_path
    from service.cli.output import print_json

    with connect(url, key) as relay:
        job = relay.ask("POST", f"{job_path(job_id)}/retry").json()
    if as_json:
        print_json(job)
    else:
        print(f"{job['id']} is {job['stage']} again")


def delete(job_id: JobId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Delete a transcription here and at Soniox."""
    from service.cli.client import connect, job_path
    from service.cli.output import print_json

    with connect(url, key) as relay:
        relay.ask("DELETE", job_path(job_id))
    if as_json:
        print_json({"id": job_id, "deleted": True})
    else:
        print(f"{job_id} is deleted")
