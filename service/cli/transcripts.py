"""A transcript on stdout, in any format. Loaded by the verbs that print one."""

import sys

from service.cli.client import RelayClient, job_path


def print_transcript(relay: RelayClient, job_id: str, shape: str) -> None:
    """Print it as the relay writes it."""
    text = relay.ask("GET", f"{job_path(job_id)}/transcript", params={"format": shape}).content.decode()
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
