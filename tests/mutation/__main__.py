"""`python -m tests.mutation [MODULE ...]`: change one thing in a module and see whether a test fails.

Each mutant is written into a copy of the project, where the tests of its module run until the first fails. Prints
what survived and the share that was killed; exits 1 below 90 %.
"""

import argparse
import multiprocessing
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

from tests.mutation.changes import Mutant, mutants_of
from tests.mutation.trying import LIBRARIES, run

ROOT = Path(__file__).resolve().parents[2]
NEEDED = 0.9
PARTS = ("service", "tests", "migrations", "pyproject.toml", "alembic.ini")
LONGEST_S = 1800  # a mutant may hang; one test may not, and on a busy machine all of them take their time
# The tests that answer for a module; on SQLite alone, since the rules are the same there.
TESTS: dict[str, str] = {
    "service/crypto.py": "tests/test_vault.py",
    "service/webhook.py": "tests/test_webhook.py tests/test_strangers.py",
    "service/downstream/messages.py": "tests/test_sign.py",
    "service/store/claims.py": "tests/test_claims.py",
    "service/downstream/retry_policy.py": "tests/test_delivery_patience.py",
    "service/downstream/ssrf.py": "tests/test_guard.py",
}

forks = multiprocessing.get_context("forkserver")
forks.set_forkserver_preload(LIBRARIES)


@dataclass(frozen=True)
class Verdict:
    """What the tests said of one mutant."""

    module: str
    mutant: Mutant
    killed: bool


def judge(folder: Path, module: str, mutant: Mutant) -> Verdict:
    """Run the tests of the module with this mutant in its place."""
    place = folder / module
    original = place.read_text("utf-8")
    place.write_text(mutant.source, "utf-8")
    try:
        return Verdict(module, mutant, killed=not _tests_pass(folder, module))
    finally:
        place.write_text(original, "utf-8")


def _tests_pass(folder: Path, module: str) -> bool:
    process = forks.Process(target=run, args=(str(folder), TESTS[module].split()))
    process.start()
    process.join(LONGEST_S)
    process.kill()
    process.join()
    return process.exitcode == 0


def examine(modules: list[str], workers: int) -> list[Verdict]:
    """All mutants of these modules, a copy of the project for each worker."""
    with tempfile.TemporaryDirectory() as home, ThreadPoolExecutor(workers) as pool:
        free: Queue[Path] = Queue()
        for number in range(workers):
            folder = Path(home) / str(number)
            for part in PARTS:
                copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
                folder.mkdir(exist_ok=True)
                copy(ROOT / part, folder / part)
            free.put(folder)

        def one(module: str, mutant: Mutant) -> Verdict:
            folder = free.get()
            try:
                return judge(folder, module, mutant)
            finally:
                free.put(folder)

        for module in modules:
            if not _tests_pass(Path(home) / "0", module):
                raise SystemExit(f"the tests of {module} fail without any change")
        futures = [
            pool.submit(one, module, mutant)
            for module in modules
            for mutant in mutants_of((ROOT / module).read_text("utf-8"))
        ]
        return [_told(future.result()) for future in futures]


def _told(verdict: Verdict) -> Verdict:
    if not verdict.killed:
        print(f"  survived: {verdict.module}:{verdict.mutant.line} {verdict.mutant.change}", flush=True)
    return verdict


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", default=list(TESTS))
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    begun = time.monotonic()
    verdicts = examine(arguments.modules, arguments.workers)
    for module in arguments.modules:
        theirs = [verdict for verdict in verdicts if verdict.module == module]
        print(f"{module}: {sum(one.killed for one in theirs)} of {len(theirs)} killed")
    killed = sum(verdict.killed for verdict in verdicts)
    share = killed / len(verdicts)
    print(f"killed={killed} of={len(verdicts)} share={share:.1%} in {time.monotonic() - begun:.0f} s")
    return 0 if share >= NEEDED else 1


if __name__ == "__main__":
    sys.exit(main())
