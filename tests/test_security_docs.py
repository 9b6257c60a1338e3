"""What docs/security.md promises is there, every test and all 27 rows; and what holds for the code as a whole."""

import ast
import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "security.md").read_text("utf-8")
OWNED = ("transcriptions", "files", "endpoints", "deliveries")
# Installed for others: drivers that a URL names, what FastAPI or httpx load by themselves.
LOADED_BY_OTHERS = {"aiosqlite", "jinja2", "uvicorn"}


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
    """Whoever reads by id says whose it must be, None for anybody's: it cannot be forgotten."""
    checked = 0
    for name in OWNED:
        tree = ast.parse((ROOT / "service" / "store" / f"{name}.py").read_text("utf-8"))
        for node in tree.body:
            if isinstance(node, ast.AsyncFunctionDef) and node.name in {"get", "find", "page_of", "count"}:
                names = [argument.arg for argument in node.args.args]
                if "owner" in names:
                    assert len(node.args.defaults) < len(names) - names.index("owner"), f"{name}.{node.name}"
                    checked += 1
    assert checked >= 5


def test_every_dependency_is_used() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = {re.match(r"[\w-]+", line)[0].lower() for line in project["dependencies"]}  # type: ignore[index]
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
