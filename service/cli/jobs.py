"""The verbs about transcriptions that were submitted: list, show, transcript, retry, delete."""

from typing import Annotated, Any, Literal

import typer

from service.cli.options import AsJson, JobId, Key, Url

WORTH_SHOWING = (
    *("id", "status", "stage", "model", "filename", "audio_duration_ms", "created_at", "soniox_id"),
    *("client_reference_id", "metadata", "error_type", "error_message", "webhook_url", "webhook_status_code"),
)


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    app.command("list", rich_help_panel="Talk to it")(list_page)
    for verb in (show, transcript, retry, delete):
        app.command(verb.__name__, rich_help_panel="Talk to it")(verb)


def list_page(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 20,
    cursor: Annotated[str, typer.Option(help="Where the page before said that more begins.")] = "",
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List transcriptions, newest first."""
    from service.cli.client import JOBS, connect
    from service.cli.output import asides, print_json, print_rows

    with connect(url, key) as relay:
        page = relay.get(JOBS, limit=limit, cursor=cursor)
    if as_json:
        print_json(page)
        return
    names = ["id", "status", "stage", "created_at", "filename", "client_reference_id"]
    rows = [[_plain(job[name]) for name in names] for job in page["transcriptions"]]
    print_rows(["id", "status", "stage", "created", "file", "reference"], rows)
    if page["next_page_cursor"]:
        asides().print(f"more: --cursor {page['next_page_cursor']}", markup=False, soft_wrap=True)


def show(job_id: JobId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Show one transcription and every step it took."""
    from service.cli.client import connect, job_path
    from service.cli.output import print_json, print_rows

    with connect(url, key) as relay:
        job = relay.get(job_path(job_id))
    if as_json:
        print_json(job)
        return
    print_rows(["", ""], [[name, _plain(job[name])] for name in WORTH_SHOWING if job[name] is not None])
    print()
    names = ["at", "step", "source", "http_status", "duration_ms", "detail"]
    steps = [[_plain(entry[name]) for name in names] for entry in job["timeline"]]
    print_rows(["at", "step", "source", "http", "ms", "detail"], steps)


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


def _plain(value: Any) -> str:
    import json

    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
