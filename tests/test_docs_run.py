"""Every command and every snippet of the documents does what it says: each page is walked from top to end."""

import json
import shutil
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from service.sandbox.speech import recording_text
from service.sandbox.state import SandboxConfig
from tests.support.node import WITHOUT_NODE, installed_sdk
from tests.support.pages import PAGES, PARSED, ROOT, Block, blocks_of, differences, walk
from tests.support.relay_app import ADMIN_KEY, MASTER_SECRET, RelayApp, open_relay_app

FIRST_WORDS = " ".join(recording_text().split()[:4])
WALKED = [page for page in PAGES if any(block.is_run for block in blocks_of(page))]


@pytest.fixture
async def playground(
    request: pytest.FixtureRequest, sqlite_template: Path, tmp_path: Path
) -> AsyncIterator[RelayApp]:
    """What `make run` gives a reader. Speech is recognised for real where the page shows what comes out."""
    page: Path = request.getfixturevalue("page")
    is_real = any(block.is_output and FIRST_WORDS in block.text for block in blocks_of(page))
    config = SandboxConfig(recognise="pocketsphinx" if is_real else "script", requests_per_minute=None)
    database = shutil.copy(sqlite_template, tmp_path / "relay.db")
    async with open_relay_app(f"sqlite:///{database}", config, relay_reconcile_interval_s=30) as relay_app:

        async def is_ready() -> bool:
            return (await relay_app.client.get("/readyz")).is_success

        await relay_app.until(is_ready)
        yield relay_app


@pytest.mark.parametrize("page", WALKED, ids=lambda page: str(page.relative_to(ROOT)))
async def test_a_page_does_what_it_says(page: Path, playground: RelayApp, tmp_path: Path) -> None:
    folder = tmp_path / "reader"
    folder.mkdir()
    (folder / "service").symlink_to(ROOT / "service")
    blocks = [block for block in blocks_of(page) if block.is_run and not (block.language == "js" and WITHOUT_NODE)]
    if any(block.language == "js" for block in blocks):
        (folder / "node_modules").symlink_to(installed_sdk() / "node_modules")
    walked = await walk(blocks, folder, _environment(playground))
    assert walked.code == 0, f"{walked.last.place} ends with {walked.code}:\n{walked.printed[walked.last]}"
    for before, shown in _outputs(page):
        if before in walked.printed:
            missing = list(differences(shown.text, walked.printed[before]))
            assert not missing, f"{shown.place}: not printed {missing}, but\n{walked.printed[before]}"


@pytest.mark.parametrize(
    ("text", "code", "last"),
    [
        ("```sh\nA=1\n```\n```sh\ntest $A = 1\n```\n", 0, 2),
        ("```sh\nfalse\n```\n```sh\ntrue\n```\n", 1, 1),
        ("```sh\nfalse | true\n```\n", 1, 1),
        ("<!-- fails -->\n```sh\nfalse\n```\n```sh\ntrue\n```\n", 0, 2),
        ("<!-- fails -->\n```sh\ntrue\n```\n", 99, 1),
        ("```python\n# one.py\nONE = 1\n```\n```python\nimport one\n\nassert one.ONE == 2\n```\n", 1, 2),
    ],
)
async def test_the_walk_stops_where_a_reader_would(tmp_path: Path, text: str, code: int, last: int) -> None:
    page = tmp_path / "page.md"
    page.write_text(text, "utf-8")
    walked = await walk(blocks_of(page), tmp_path, {})
    assert (walked.code, len(walked.printed)) == (code, last)


def test_what_a_page_shows_must_have_been_printed() -> None:
    printed = "id  01a1fd4f-533e-7ff8-8dca-e4a3db057a4a\n took 1.5 s\nready\n"
    assert not list(differences("id 77a1fd4f-533e-7ff8-8dca-e4a3db057a4a\n...\nready\n", printed))
    assert list(differences("ready\ntook 2.5 s\n", printed)) == ["took #.# s"]
    assert list(differences("id 01a1\ndone\n", printed)) == ["id #a#", "done"]


@pytest.mark.skipif(not WITHOUT_NODE, reason="node is here: the snippets for Node run with the others")
def test_snippets_for_node_are_run() -> None:
    pytest.skip("node and npm are not installed: the snippets for Node were not run")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_document_that_is_data_can_be_read(page: Path) -> None:
    for block in blocks_of(page):
        if block.language in PARSED and not block.reason:
            yaml.safe_load(block.text) if block.language == "yaml" else json.loads(block.text)


def _outputs(page: Path) -> Iterator[tuple[Block, Block]]:
    """What is shown as printed, with the block that prints it."""
    return ((before, shown) for before, shown in pairwise(blocks_of(page)) if shown.is_output)


def _environment(playground: RelayApp) -> dict[str, str]:
    """What a reader has set: where the relay is, its key, and for an operator's verbs its settings."""
    settings = playground.relay.settings
    return {
        "RELAY_URL": playground.server.url,
        "RELAY_API_KEY": ADMIN_KEY,
        "SANDBOX": settings.soniox_api_base_url,
        "SONIOX_API_KEY": "sandbox-key",
        "SONIOX_API_BASE_URL": settings.soniox_api_base_url,
        "SONIOX_API_WEBHOOK_SECRET": MASTER_SECRET,
        "DATABASE_URL": settings.database_url,
        "PUBLIC_BASE_URL": playground.server.url,
    }
