"""What every benchmark gives back, and how it is printed: one row for one figure, beside its target."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A figure. `limit` is what it must reach (`at_least`) or not pass; None is shown for comparison only."""

    name: str
    value: float
    unit: str = "x"
    limit: float | None = None
    at_least: bool = True

    @property
    def passed(self) -> bool:
        if self.limit is None:
            return True
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    @property
    def target(self) -> str:
        """The limit as it is read aloud, empty when there is none."""
        if self.limit is None:
            return ""
        return f"{'>=' if self.at_least else '<='} {self.limit:g} {self.unit}"

    @property
    def verdict(self) -> str:
        if self.limit is None:
            return ""
        return "pass" if self.passed else "FAIL"


def show(rows: Sequence[Row]) -> None:
    """Print the rows in columns."""
    for row in rows:
        print(f"{row.name:<78}{_figure(row):>14}  {row.target:<14}{row.verdict}", flush=True)


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| what | measured | target | |", "|---|---:|---|---|"]
    lines += [f"| {row.name} | {_figure(row)} | {row.target} | {row.verdict} |" for row in rows]
    return "\n".join(lines) + "\n"


def _figure(row: Row) -> str:
    digits = 0 if row.value >= 1_000 else 1 if row.value >= 100 else 2
    return f"{row.value:,.{digits}f} {row.unit}"
