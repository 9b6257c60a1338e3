"""The benchmarks run. What they measure is nobody's business here."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.__main__ import SHORT

ROOT = Path(__file__).parent.parent


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", SHORT)
def test_a_benchmark_runs_in_its_short_form_and_every_row_has_a_figure(name: str) -> None:
    command = [sys.executable, "-m", "bench", "--short", name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280)  # noqa: S603  # our own program
    assert done.returncode == 0, done.stdout + done.stderr
    assert any(line.endswith(("pass", "FAIL")) for line in done.stdout.splitlines())
