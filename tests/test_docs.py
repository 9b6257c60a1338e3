"""The documents keep up with the code: settings, modules and the files that decisions name."""

import re
from pathlib import Path

import pytest

import service
from service.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")
MAP = (ROOT / "docs" / "map.md").read_text("utf-8")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
SETTING = re.compile(r"^\| `([A-Z_]+)` \| ([^|]*) \|", re.MULTILINE)
QUOTED_PATH = re.compile(r"`((?:service|tests|bench|migrations|docs)/[\w./-]*)`")


def modules() -> list[str]:
    """The parts of the package, as `ls` shows them."""
    found = (
        path for path in (ROOT / "service").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    )
    return sorted(path.stem for path in found if path.stem != "__init__")


def test_the_settings_table_has_every_setting_and_no_other() -> None:
    assert {name.lower() for name, _ in SETTING.findall(README)} == set(Settings.model_fields)


def test_the_settings_table_has_the_true_defaults() -> None:
    for name, told in SETTING.findall(README):
        default = Settings.model_fields[name.lower()].default
        if isinstance(default, str | int | float) and default != "":
            value = str(default).lower() if isinstance(default, bool) else str(default)
            assert told.startswith(f"`{value}`"), name


@pytest.mark.parametrize("module", modules())
def test_every_module_has_its_line_on_the_map(module: str) -> None:
    assert re.search(rf"`{module}/?`", MAP)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_files_that_a_document_names_exist(document: Path) -> None:
    named = QUOTED_PATH.findall(document.read_text("utf-8"))
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize(
    "document", sorted((ROOT / "docs" / "decisions").glob("*.md")), ids=lambda path: path.name
)
def test_a_decision_says_why_what_and_what_follows_and_who_holds_it(document: Path) -> None:
    text = document.read_text("utf-8")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings[:3] == ["Context", "Decision", "Consequences"]
    assert QUOTED_PATH.search(text)


def test_the_reading_order_names_modules_that_exist() -> None:
    named = re.findall(r"`(?:service\.)?([a-z_]+(?:\.[a-z_]+)?)`", service.__doc__ or "")
    assert len(named) > 10
    for name in named:
        place = ROOT / "service" / name.replace(".", "/")
        assert place.is_dir() or place.with_suffix(".py").exists(), name
