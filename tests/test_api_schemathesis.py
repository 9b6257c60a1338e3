"""schemathesis against the running relay: generated good and bad requests for every operation, all checks on."""

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.relay_app import ADMIN_KEY, RelayApp

pytestmark = pytest.mark.one_database  # shapes of HTTP; test_fuzz.py asks both databases

ROOT = Path(__file__).parents[1]
BRIEF = ["--phases", "examples,coverage,fuzzing", "--max-examples", "2"]
LONG = ["--max-examples", "10", "--max-time", "240"]  # sequences of calls, too, which have no end of their own


@pytest.mark.parametrize("extent", [BRIEF, pytest.param(LONG, marks=[pytest.mark.long, pytest.mark.timeout(400)])])
async def test_generated_requests_find_no_answer_that_the_document_does_not_tell(
    relay_app: RelayApp, tmp_path: Path, extent: list[str]
) -> None:
    document = tmp_path / "openapi.json"
    document.write_text(json.dumps(await _document(relay_app)))
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(ROOT / "tests" / "schemathesis.toml")),
        *("--no-color", "run", str(document), "--url", relay_app.server.url),
        *("--header", f"Authorization: Bearer {ADMIN_KEY}", "--checks", "all"),
        *(*extent, "--seed", "1", "--request-timeout", "10"),
        *("--exclude-path", "/v1/events/stream"),  # it never ends; `test_events.py` reads it
        *("--exclude-path", "/webhooks/soniox"),  # its secret is another for each job; `test_webhook.py` knows it
    ]
    run = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT
    )
    try:
        report = (await run.communicate())[0].decode()
    finally:
        if run.returncode is None:
            run.kill()
    assert run.returncode == 0, report[-6000:]
    assert int(re.findall(r"(\d+) generated", report)[-1]) > 300, report[-3000:]


async def _document(relay_app: RelayApp) -> dict[str, object]:
    """The document with the models of this Soniox, which the general one cannot know."""
    document = dict((await relay_app.client.get("/openapi.json")).json())
    models = (await relay_app.client.get("/v1/models")).json()["models"]
    names = [model["id"] for model in models if model["transcription_mode"] == "async"]
    for name in ("Submission", "SubmissionWithFile"):
        document["components"]["schemas"][name]["properties"]["model"] = {"enum": names}
    return document
