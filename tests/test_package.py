"""What is in the wheel; `make package-check` installs it into fresh environments and runs it."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import service
from tests.support.revisions import SCRIPTS

ROOT = Path(__file__).resolve().parents[1]
SEMANTIC = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)  # noqa: S603  # our own interpreter
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def metadata(wheel: zipfile.ZipFile) -> str:
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return wheel.read(name).decode()


def test_the_wheel_has_the_code_its_types_its_revisions_and_its_licence(wheel: zipfile.ZipFile) -> None:
    with wheel:
        names = set(wheel.namelist())
        told = metadata(wheel)
    assert {"service/__main__.py", "service/py.typed", "service/sandbox/speech/recording.wav"} <= names
    assert {f"service/_migrations/versions/{script.name}" for script in SCRIPTS} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith("tests/") or name.endswith((".pyc", ".env", ".db"))]
    assert f"Version: {service.__version__}" in told
    assert "License-Expression: Apache-2.0" in told


def test_the_version_is_semantic_and_the_changelog_has_a_place_for_it() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert SEMANTIC.fullmatch(service.__version__)
    assert re.search(rf"^## (Unreleased|\[?{re.escape(service.__version__)}\]?)", changelog, re.MULTILINE)
