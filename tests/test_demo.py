"""The demo is a promise: exit 0 means that all of it really happened."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from service.sandbox.speech import recording_text

STEPS = (
    "accepted, on disk",
    "submitted to Soniox",
    "transcript stored",
    "notification delivered, verified",
    "Soniox's copies removed",
)


MISLEADING = {"PORT": "1", "DATABASE_URL": "postgresql://nowhere/at-all", "RELAY_API_KEY": "short"}


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Python in an environment that could mislead the demo; its temporary files go to the folder's `tmp`."""
    (folder / ".env").write_text("SONIOX_API_KEY=changeme\nHOST=203.0.113.1\n")
    (folder / "tmp").mkdir()
    return subprocess.run(  # noqa: S603  # our own interpreter
        [sys.executable, *command],
        cwd=folder,
        env=os.environ | MISLEADING | {"TMPDIR": str(folder / "tmp")},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def left_behind(folder: Path) -> list[str]:
    """Files and processes that outlived the demo; its servers work in its temporary folder."""
    files = [path.name for path in (folder / "tmp").iterdir()]
    processes = psutil.process_iter(["cwd", "name"])
    return files + [found.info["name"] for found in processes if str(folder / "tmp") in (found.info["cwd"] or "")]


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param((), id="straight"),
        pytest.param(("--crash",), id="with crashes", marks=pytest.mark.long),
    ],
)
def test_the_demo_shows_every_step_and_leaves_nothing_behind(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = run(tmp_path, "-m", "service", "demo", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    for step in STEPS:
        assert step in done.stdout
    assert recording_text() in done.stdout
    assert "webhook-signature: v1," in done.stdout
    assert "FAILED" not in done.stdout
    assert done.stdout.count("SIGKILL") == 2 * len(arguments)
    assert left_behind(tmp_path) == []


@pytest.mark.long
def test_the_demo_fails_when_the_transcript_is_not_the_recordings(tmp_path: Path) -> None:
    broken = "from service.cli.demo import ending, story; ending.recording_text = str; story.tell(crash=False)"
    done = run(tmp_path, "-c", broken)
    assert done.returncode == 1
    assert "FAILED  the transcript" in done.stdout
    assert left_behind(tmp_path) == []
