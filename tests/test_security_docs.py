"""What docs/security.md promises is there, every test and all 27 rows; and what holds for the code as a whole."""

import ast
import functools
import inspect
import re
import tomllib
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import get_type_hints

from service.store import (
    deliveries,
    endpoints,
    events,
    files,
    search,
    statistics,
    transcription_queries,
    transcriptions,
)

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "security.md").read_text("utf-8")
OWNED = (
    transcriptions,
    files,
    endpoints,
    deliveries,
    transcription_queries,
    events,
    search,
    statistics,
)
READS = {
    "get",
    "find",
    "page",
    "count",
    "after",
    "follow",
    "of_ids",
    "failed",
    "exhausted",
    "finished",
    "delivered",
}
READ_BY_THE_RELAY_ITSELF = {"files.get", "events.get"}
# Installed for others: drivers that a URL names, what FastAPI or httpx load by themselves.
LOADED_BY_OTHERS = {"jinja2", "uvicorn"}


@functools.cache
def trees(folder: str) -> list[ast.Module]:
    return [ast.parse(path.read_text("utf-8")) for path in sorted((ROOT / folder).rglob("*.py"))]


def test_every_test_that_the_page_names_exists() -> None:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    there = {node.name for tree in trees("tests") for node in ast.walk(tree) if isinstance(node, functions)}
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 50
    assert named - there == set()


def test_every_failure_mode_has_its_row_with_a_test() -> None:
    rows = re.findall(r"^\| (\d+) \|.*\|([^|]*)\|$", PAGE, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 28))
    assert all("`test_" in tests for _, tests in rows)


def test_reads_of_owned_things_must_name_an_owner() -> None:
    """By id, as a list, as a count, as a search: each takes an owner, itself or within what it is asked."""
    reads = {
        f"{module.__name__.rpartition('.')[2]}.{name}": function
        for module in OWNED
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and name in READS
    }
    assert len(reads) >= 14
    assert {name for name, function in reads.items() if not _says_whose(function)} == READ_BY_THE_RELAY_ITSELF


def test_no_owner_can_be_forgotten() -> None:
    """None means everybody's, so it is never a default: whoever wants that says so, and mypy asks for it."""
    named = forgettable = 0
    for node in (node for tree in trees("service") for node in ast.walk(tree)):
        if isinstance(node, ast.arguments):
            positional = [*node.posonlyargs, *node.args]
            optional = positional[len(positional) - len(node.defaults) :]
            optional += [one for one, default in zip(node.kwonlyargs, node.kw_defaults, strict=True) if default]
            named += sum(one.arg == "owner" for one in [*positional, *node.kwonlyargs])
            forgettable += sum(one.arg == "owner" for one in optional)
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "owner":
            named += 1
            forgettable += node.value is not None and not _is_required(node.value)
    assert named > 40
    assert forgettable == 0


def _says_whose(function: Callable[..., object]) -> bool:
    hints = get_type_hints(function)
    asked = [hint for hint in hints.values() if is_dataclass(hint)]
    return "owner" in hints or any(field.name == "owner" for hint in asked for field in fields(hint))


def _is_required(value: ast.expr) -> bool:
    """`Field(...)` of a table that sets no default."""
    return isinstance(value, ast.Call) and not value.args and "default" not in {one.arg for one in value.keywords}


def test_every_dependency_is_used() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = {name.lower() for line in project["dependencies"] for name in re.findall(r"^[\w-]+", line)}
    imported = {
        name.partition(".")[0] for tree in trees("service") for node in ast.walk(tree) for name in _imports(node)
    }
    provided = packages_distributions()
    used = {one.lower().replace("_", "-") for name in imported for one in provided.get(name, [])}
    assert wanted - used - LOADED_BY_OTHERS == set()


def _imports(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
