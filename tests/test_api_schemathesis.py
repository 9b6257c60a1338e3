"""schemathesis against the running relay: generated good and bad requests for every operation, all checks on."""

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

from tests.support.relay_app import ADMIN_KEY, RelayApp

ROOT = Path(__file__).parents[1]
AT_MOST_S = 20


async def test_generated_requests_find_no_answer_that_the_document_does_not_tell(
    relay_app: RelayApp, tmp_path: Path
) -> None:
    document = tmp_path / "openapi.json"
    document.write_text(json.dumps(await _document(relay_app)))
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(ROOT / "tests" / "schemathesis.toml")),
        *("--no-color", "run", str(document), "--url", relay_app.server.url),
        *("--header", f"Authorization: Bearer {ADMIN_KEY}", "--checks", "all"),
        *("--max-examples", "2", "--seed", "1", "--max-time", str(AT_MOST_S), "--request-timeout", "10"),
        *("--exclude-path", "/v1/events/stream"),  # it never ends; `test_events.py` reads it
        *("--exclude-path", "/webhooks/soniox"),  # its secret is another for each job; `test_hooks.py` knows it
    ]
    run = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT
    )
    try:
        out, _ = await asyncio.wait_for(run.communicate(), 100)
    except TimeoutError:
        run.kill()
        raise
    report = out.decode()
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
