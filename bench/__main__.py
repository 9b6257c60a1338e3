"""Measurements: `python -m bench [NAME ...]` prints one table and writes it to bench/results.md.

Every figure is a ratio inside one run, beside a baseline measured in turn with it; other load still
shows where both cores are needed. Without a name those run that take less than 10 minutes together. Modules
without `rows()` print tables of their own, which are kept as they are.
"""

import argparse
import importlib
import math
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.load import Slices
from bench.table import Row, markdown, show

ROWS = ("ack", "submit", "pipeline", "journey", "deliveries", "growing", "scaleout", "idle")
LONGER = ("figures",)
TEXTS = ("transcripts", "stored", "search", "sweep")
# The short form runs everything and measures nothing: so many rounds, jobs and requests.
SHORT: dict[str, dict[str, Any]] = {
    "ack": {"FAST": Slices(1, 0.15), "SLOW": Slices(1, 0.5), "COMMITTED": 1},
    "pipeline": {"ROUNDS": 1, "JOBS": 40, "BARE_JOBS": 40, "HTTPX_JOBS": 10},
    "journey": {"TOLD": 5, "POLLED": 1},
    "deliveries": {"ROUNDS": 1, "BARE": 50, "DELIVERED": 500, "TRICKLE": 100, "TURNS": 1},
}
LIBRARIES = ("fastapi", "starlette", "uvicorn", "uvloop", "sqlalchemy", "sqlmodel", "asyncpg", "aiohttp", "httpx")
HOW = """\
What was measured in turns is shown as the median of each turn's ratio; figures beside it are medians alone.
The baselines are served by uvicorn as it comes (`bench/naive.py`). Rows without a target stand below what they
explain.
"""
RESULTS = Path(__file__).with_name("results.md")


def measured(name: str) -> list[Row]:
    """The rows of one module, with a word on how long it took."""
    print(f"== {name}", flush=True)
    started = time.monotonic()
    rows: list[Row] = importlib.import_module(f"bench.{name}").rows()
    show(rows)
    print(f"   {time.monotonic() - started:.0f} s\n", flush=True)
    return rows


def shorten() -> None:
    """Turn the modules of the short form to it."""
    for name, changed in SHORT.items():
        vars(importlib.import_module(f"bench.{name}")).update(changed)


def printed(name: str) -> str:
    """What a module prints."""
    print(f"== {name}", flush=True)
    command = [sys.executable, "-m", f"bench.{name}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # our own program
    print(done.stdout, done.stderr[-2_000:], flush=True)
    return done.stdout


def machine() -> str:
    """What it ran on."""
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return (
        f"{os.cpu_count()} cores, {gigabytes:.0f} GiB, {platform.system()} {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}; {versions}; load average at the start {os.getloadavg()[0]:.1f}"
    )


def main() -> int:
    """Run what is named, or what takes 10 minutes; 0 when every row passed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join((*ROWS, *LONGER, *TEXTS)))
    parser.add_argument("--short", action="store_true", help="only show that it runs; results.md stays as it is")
    options = parser.parse_args()
    if options.short:
        shorten()
        rows = [row for name in options.names or SHORT for row in measured(name)]
        return 0 if all(math.isfinite(row.value) and row.value > 0 for row in rows) else 1
    names = options.names or ROWS
    parts = [f"# Results\n\n`make bench`, {time.strftime('%Y-%m-%d')}. {machine()}.\n", HOW]
    rows = []
    for name in names:
        if name in (*ROWS, *LONGER):
            rows += measured(name)
    if rows:
        parts.append(markdown(rows))
    parts += [f"## {name}\n\n```text\n{printed(name)}```\n" for name in names if name in TEXTS]
    RESULTS.write_text("\n".join(parts))
    failed = [row.name for row in rows if not row.passed]
    print(f"{len(rows) - len(failed)} of {len(rows)} rows pass; written to {RESULTS.name}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
