"""The size of the house: what `docs/map.md` shows of it. `python -m tests.support.house` prints the row."""

import ast
import sys
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from statistics import median, quantiles

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class House:
    """Counts, and the length in lines: the median and the length that nine in ten do not exceed."""

    files: int
    lines: int
    file_median: int
    file_p90: int
    functions: int
    function_median: int
    function_p90: int

    def row(self) -> str:
        """A line of the table."""
        return "| Soniox Relay | " + " | ".join(f"{figure:,}" for figure in astuple(self)) + " |"


def measure(folder: Path = ROOT / "service") -> House:
    """Count the Python files of a folder; `__init__` files without code do not count."""
    texts = [path.read_text("utf-8") for path in sorted(folder.rglob("*.py"))]
    files = [len(text.splitlines()) for text in texts if len(ast.parse(text).body) > 1]
    functions = [length for text in texts for length in _functions(text)]
    return House(len(files), sum(files), *_middle(files), len(functions), *_middle(functions))


def _functions(text: str) -> Iterator[int]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield (node.end_lineno or node.lineno) - node.lineno + 1


def _middle(lengths: list[int]) -> tuple[int, int]:
    return int(median(lengths)), int(quantiles(lengths, n=10)[-1])


if __name__ == "__main__":
    sys.stdout.write(measure().row() + "\n")
