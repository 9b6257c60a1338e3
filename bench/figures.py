"""What the figures cost after a busy month: `python -m bench.figures [--jobs 1000000]`.

A month of finished jobs, one delivery each. Every look is a first one: nothing is kept in memory from the last,
and connections are new. The median of several is shown, for everybody's figures and for those of one key.
"""

import argparse
import asyncio
import statistics
import time

from bench.filling import fill
from bench.served import ready_databases, settings_of
from bench.table import Row, show
from service.clock import DAY_MS, wall_ms
from service.relay import open_relay
from service.services.statistics import WINDOWS, Length, Statistics, roll_up_hours

JOBS = 1_000_000
LOOKS = 9
MOST_MS = 200
OWNERS = {"all": None, "one key's": "bench", "an idle key's": "nobody"}


async def first_look(url: str, owner: str | None, length: Length) -> tuple[float, int]:
    """Milliseconds of it, and how many transcriptions it counted."""
    async with open_relay(settings_of(url)) as relay:
        begun = time.perf_counter()
        found = await Statistics(relay).overview(owner, length)
        return (time.perf_counter() - begun) * 1000, found["jobs"]["completed"]


async def look(name: str, url: str) -> list[Row]:
    """A row for each window and each who."""
    found = []
    for whose, owner in OWNERS.items():
        for length in WINDOWS:
            looks = [await first_look(url, owner, length) for _ in range(LOOKS)]
            label = f"{name}, first look at {length}, {whose} ({looks[0][1]:,} completed)"
            found.append(
                Row(label, statistics.median(took_ms for took_ms, _ in looks), "ms", MOST_MS, at_least=False)
            )
    return found


async def once(name: str, url: str) -> Row:
    """How long it takes to count all hours, which happens once, in the background."""
    async with open_relay(settings_of(url)) as relay:
        begun = time.perf_counter()
        hours = await roll_up_hours(relay)
        return Row(f"{name}, {hours:,} hours counted, each", (time.perf_counter() - begun) * 1000 / hours, "ms")


async def measure(jobs: int) -> list[Row]:
    """All rows."""
    found: list[Row] = []
    with ready_databases() as urls:
        for name, url in urls.items():
            await fill(url, jobs, jobs, wall_ms(), 30 * DAY_MS)
            found += [await once(name, url), *await look(name, url)]
    return found


def rows(jobs: int = JOBS) -> list[Row]:
    """How long an operator waits."""
    return asyncio.run(measure(jobs))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=JOBS)
    show(rows(parser.parse_args().jobs))
