"""What a sweep costs the database: few or many outstanding jobs, alone or among 1,000,000 finished ones.

    python -m bench.sweep [--finished 1000000]

Time is the database's part of a sweep (silent jobs, stalled rows, what is held at Soniox), median of several, on
SQLite. Calls are what the listing needs. The curve must not rise with what is finished: the indexes hold only what
is open.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

from sqlalchemy import text
from sqlmodel import Session

from service.db.database import Database, open_database
from service.db.notify import Notifier
from service.db.schema import upgrade
from service.store import reconciler, transcriptions
from service.store.quotas import usage

OUTSTANDING = (100, 1_000, 10_000)
MOST = 1.3  # times what the same sweep costs without the finished ones
REPEATS = 9
PAGE = 1_000

FILL = """
INSERT INTO transcriptions (id, owner, stage, created_at_ms, check_at_ms, request, filename, attempt, adopted,
                            unsettled, past_soniox_ids, model, fence, tries, soniox_id, soniox_status)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :number)
SELECT :mark || i, 'bench', :stage, i, :check_at_ms, '{}', 'a.wav', 1, 0,
       0, '[]', 'm', 0, 0, :mark || i, 'processing'
FROM n
"""


async def fill(database: Database, stage: str, number: int) -> None:
    """Put so many rows of one stage in."""
    values = {"number": number, "mark": f"{stage}-{number}-", "stage": stage}
    values["check_at_ms"] = 1 if stage == "submitted" else None
    await database.write(lambda session: session.execute(text(FILL), values))
    await database.write(lambda session: session.execute(text("ANALYZE")))


def look(session: Session) -> None:
    """What a sweep reads."""
    transcriptions.silent(session, 2**40, 10_000)
    reconciler.stalled(session, 2**40, 0)
    usage(session)


async def sweep_ms(database: Database) -> float:
    """Median time of it."""
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        await database.read(look)
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


async def curve(folder: Path, finished: int) -> dict[int, float]:
    """Time by number of outstanding jobs, among so many finished ones."""
    costs = {}
    for outstanding in OUTSTANDING:
        url = f"sqlite:///{folder / f'{finished}-{outstanding}.db'}"
        await asyncio.to_thread(upgrade, url)
        async with open_database(url, Notifier()) as database:
            if finished:
                await fill(database, "completed", finished)
            await fill(database, "submitted", outstanding)
            costs[outstanding] = await sweep_ms(database)
    return costs


async def main() -> bool:
    """Print the table; True when every row keeps its target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--finished", type=int, default=1_000_000)
    finished = parser.parse_args().finished
    with tempfile.TemporaryDirectory(prefix="relay-bench-") as folder:
        alone = await curve(Path(folder), 0)
        among = await curve(Path(folder), finished)
    print(f"outstanding  list calls  ms alone  ms among {finished:,} finished  ratio (target <= {MOST})")
    kept = True
    for outstanding in OUTSTANDING:
        ratio = among[outstanding] / alone[outstanding]
        kept &= ratio <= MOST
        figures = f"{outstanding:>11,}  {-(-outstanding // PAGE):>10}  {alone[outstanding]:>8.2f}"
        print(f"{figures}  {among[outstanding]:>8.2f}  {ratio:.2f}  {'pass' if ratio <= MOST else 'FAIL'}")
    return kept


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(main()) else 1)
