"""The documents keep up with the code: settings, modules and the files that decisions name."""

import ast
import re
from collections import Counter
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
from pydantic.fields import FieldInfo

import service
from service import lifecycle
from service.settings import Settings
from tests.support.house import measure
from tests.support.pages import PAGES, PARSED, ROOT, RUN, SHOWN, blocks_of

README = (ROOT / "README.md").read_text("utf-8")
MAP = (ROOT / "docs" / "map.md").read_text("utf-8")
SETTING = re.compile(r"^\| `([A-Z_]+)` \| ([^|]*) \|", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:)([^)\s]+)\)")
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


def test_the_configuration_page_has_every_setting_once_with_the_values_it_takes() -> None:
    told = SETTING.findall((ROOT / "docs" / "configuration.md").read_text("utf-8"))
    assert sorted(name.lower() for name, _ in told) == sorted(Settings.model_fields)
    for name, values in told:
        field = Settings.model_fields[name.lower()]
        if choices := get_args(field.annotation) if get_origin(field.annotation) is Literal else ():
            assert values == ", ".join(f"`{choice}`" for choice in choices), name
        elif field.annotation in {int, float}:
            assert values == bounds(field), name


def bounds(field: FieldInfo) -> str:
    """In words, the numbers that a setting takes."""
    limits = {type(limit).__name__: next(iter(asdict(limit).values())) for limit in field.metadata}
    if "Le" not in limits:
        return f"{limits['Ge']} or more"
    return f"{limits['Ge']} to {limits['Le']}" if "Ge" in limits else f"above {limits['Gt']}, up to {limits['Le']}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_block_is_run_or_read_or_says_why_not(page: Path) -> None:
    blocks = blocks_of(page)
    assert len(re.findall(r"^\s*(?:```|~~~)", page.read_text("utf-8"), re.MULTILINE)) == 2 * len(blocks)
    for block in blocks:
        if block.mark.startswith("not run:"):
            assert len(block.reason.split()) >= 3, f"{block.place}: say why it is not run"
        else:
            assert block.language in RUN | PARSED | SHOWN, f"{block.place}: see tests/support/pages.py"
            assert not re.search(r"^\$ ", block.text, re.MULTILINE), (
                f"{block.place}: a command goes into an sh block"
            )


def test_the_picture_of_the_lifecycle_is_the_one_of_the_code() -> None:
    drawn, *_ = (block.text for block in blocks_of(ROOT / "docs" / "concepts.md") if "accepted ──▶" in block.text)
    assert _lines(drawn) <= _lines(lifecycle.__doc__ or "")
    letters = re.findall(r"^\| ([a-z]) \|", (ROOT / "docs" / "concepts.md").read_text("utf-8"), re.MULTILINE)
    assert letters == re.findall(r"^    ([a-z])  ", lifecycle.__doc__ or "", re.MULTILINE)


def _lines(picture: str) -> set[str]:
    return {line.strip() for line in picture.splitlines() if line.strip()}


@pytest.mark.parametrize("module", modules())
def test_every_module_has_its_line_on_the_map(module: str) -> None:
    assert re.search(rf"`{module}/?`", MAP)


def test_a_class_name_occurs_once() -> None:
    names = [
        node.name
        for path in (ROOT / "service").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
    ]
    assert [name for name, times in Counter(names).items() if times > 1] == []


def test_the_size_on_the_map_is_that_of_the_code() -> None:
    """Within a tenth, so that not every commit has to change the page."""
    row = re.search(r"^\| Soniox Relay \|(.*)\|$", MAP, re.MULTILINE)
    assert row
    shown = [int(cell.replace(",", "")) for cell in row[1].split("|")]
    measured = astuple(measure())
    assert all(abs(one - other) <= max(1, other / 10) for one, other in zip(shown, measured, strict=True)), (
        f"run: python -m tests.support.house; it is {measure().row()}"
    )


@pytest.mark.parametrize("document", PAGES, ids=lambda path: path.name)
def test_the_files_that_a_document_names_exist(document: Path) -> None:
    named = QUOTED_PATH.findall(document.read_text("utf-8"))
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    for target, _, heading in (link.partition("#") for link in LINK.findall(page.read_text("utf-8"))):
        place = page.parent / target if target else page
        assert place.exists(), target
        assert not heading or heading in anchors(place), f"{target}#{heading}"


def anchors(page: Path) -> set[str]:
    """What a link may name behind the `#`: headings, in lower case, with hyphens between the words."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert {page for page in pages if f"]({page})" not in index} == set()


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


def test_no_test_sleeps_instead_of_waiting_for_what_it_means() -> None:
    """Neighbours may dawdle on purpose, and `sleep(0)` gives way; anything else is a condition for `until`."""
    dawdling = {"waiting.py", "hostile.py"}
    sleeping = re.compile(r"(?:asyncio|time)\.sleep\((?!0\))")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if path.name not in dawdling
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if sleeping.search(line)
    ]
    assert found == []
