"""A transcript on stdout, in any format. Loaded by the verbs that print one."""

import json
import sys

from service.cli.client import RelayClient, job_path
from service.transcripts.formats import Format, render
from service.transcripts.options import RenderOptions


def print_transcript(relay: RelayClient, job_id: str, shape: Format) -> None:
    """Fetch it as Soniox's JSON and print it; `json` is printed as it came."""
    body = relay.ask("GET", f"{job_path(job_id)}/transcript").content
    text = body.decode()
    if shape != "json":
        text = render(shape, json.loads(body)["tokens"], RenderOptions(transcription_id=job_id))
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
