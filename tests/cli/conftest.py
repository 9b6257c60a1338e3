"""What the tests of the command line share: one relay for all of them, and a folder of each test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command_line import Cli, Installation, open_installation


@pytest.fixture(scope="package")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with open_installation(tmp_path_factory.mktemp("cli")) as opened:
        yield opened


@pytest.fixture
def user(installation: Installation) -> Cli:
    """Knows only the relay's URL and key."""
    return installation.user


@pytest.fixture
def operator(installation: Installation) -> Cli:
    """Works in the relay's folder, with its settings."""
    return installation.operator


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Knows nothing, in an empty folder."""
    return Cli(tmp_path, {})
