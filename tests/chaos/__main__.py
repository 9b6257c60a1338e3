"""The long run: `python -m tests.chaos --kills 1000 [--seed N]`, on SQLite and on PostgreSQL, half of it each.

Jobs keep coming while the relay is killed at named points and at random moments and started again. At the end
everything must have settled. Prints the seed, the counts and a line `lost=0 doubled=0`.
"""

import argparse
import asyncio
import random
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path

from service.db.schema import upgrade
from tests.chaos.points import POINTS
from tests.support.postgres import own_server
from tests.support.relay_processes import Account, RelayProcesses, open_relay_processes

SHORTEST_LIFE_S = 0.3
LONGEST_LIFE_S = 2.0
JOBS_PER_LIFE = 2


async def kill_again_and_again(database_url: str, kills: int, chance: random.Random) -> Account:
    """Kill the relay so many times while jobs come in, then let it live and count."""
    async with open_relay_processes(database_url) as processes:
        submitting: list[asyncio.Task[None]] = []
        for life in range(kills):
            await processes.start(chance.choice(["", *POINTS]))
            for _ in range(JOBS_PER_LIFE):
                job = processes.submit(len(submitting), with_file=chance.random() < 0.3, patience_s=300)
                submitting.append(asyncio.create_task(job))
            if not await processes.died(within_s=chance.uniform(SHORTEST_LIFE_S, LONGEST_LIFE_S)):
                await processes.kill()
            if life % 20 == 19:
                await rest(processes)
        await processes.start()
        await asyncio.gather(*submitting)
        account = await processes.settled(within_s=300)
        await processes.stop()
        return account


async def rest(processes: RelayProcesses) -> None:
    """A life long enough to work off what has gathered."""
    await processes.start()
    account = await processes.settled(within_s=60)
    print(
        f"  {account.kills} kills, {account.jobs} jobs, lost={account.lost} doubled={account.doubled}", flush=True
    )
    await processes.kill()


def main() -> int:
    """Run and print; 0 when nothing was lost and nothing doubled."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31))
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    arguments = parser.parse_args()
    print(f"seed={arguments.seed} kills={arguments.kills}", flush=True)
    accounts = []
    for name in ["sqlite", "postgresql"] if arguments.database == "both" else [arguments.database]:
        kills = arguments.kills // 2 if arguments.database == "both" else arguments.kills
        started = time.monotonic()
        account = run_on(name, kills, random.Random(f"{arguments.seed}-{name}"))
        accounts.append(account)
        print(f"{name}: {account} in {time.monotonic() - started:.0f} s", flush=True)
    lost, doubled = sum(account.lost for account in accounts), sum(account.doubled for account in accounts)
    print(f"kills={sum(account.kills for account in accounts)} lost={lost} doubled={doubled}")
    return 0 if all(account.is_clean() for account in accounts) else 1


def run_on(name: str, kills: int, chance: random.Random) -> Account:
    """One database, made for this run and thrown away."""
    if name == "postgresql":
        with own_server() as server:
            upgrade(f"{server.url}/postgres")
            return asyncio.run(kill_again_and_again(f"{server.url}/postgres", kills, chance))
    folder = Path(tempfile.mkdtemp(prefix="relay-chaos-"))
    try:
        upgrade(f"sqlite:///{folder / 'relay.db'}")
        return asyncio.run(kill_again_and_again(f"sqlite:///{folder / 'relay.db'}", kills, chance))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
