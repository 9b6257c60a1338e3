"""What the database adds to the codec's time and bytes for long transcripts: `python -m bench.stored`."""

import asyncio
import gc
import statistics
import time
import tracemalloc
from collections.abc import Awaitable, Callable

from bench.served import ready_databases
from bench.transcripts import body, longest_stall, report, store_and_read, tokens
from service.app import settle_memory
from service.db.database import Database, open_database
from service.db.notify import Notifier
from service.pipeline.results import transcript_rows
from service.store import transcripts
from service.transcripts.codec import pack, unpack
from service.transcripts.columns import unpack_tokens
from service.transcripts.exports import json_body
from service.transcripts.filters import TokenFilter
from tests.support.rows import value

ROUNDS = 5
ID = "0b7f9c3e-6c0e-4f0e-9a53-2f0f8f1f7d11"


async def store(db: Database, document: bytes, *, searchable: bool = True, name: str = ID) -> None:
    """Pack and store a transcript as the pipeline does."""
    packed = await pack(document)
    parts = transcript_rows("bench", name, packed, 1)
    if not searchable:
        parts.passages.clear()
    await db.write(lambda session: transcripts.store(session, parts))


async def read(db: Database) -> None:
    """Read the whole transcript back."""
    head, found = await db.read(
        lambda session: (transcripts.get(session, ID), transcripts.read_chunks(session, ID))
    )
    assert head is not None
    assert found
    await unpack(head.envelope, found)


async def serve(db: Database) -> None:
    """Read the transcript as the route streams it."""
    head, found = await db.read(
        lambda session: (transcripts.get(session, ID), transcripts.read_chunks(session, ID))
    )
    assert head is not None
    async for _ in json_body(head.envelope, found or [], ID):
        pass


async def read_window(db: Database, from_ms: int) -> None:
    """Read one minute."""
    chosen = TokenFilter(from_ms=from_ms, to_ms=from_ms + 60_000)
    found = await db.read(lambda session: transcripts.read_chunks(session, ID, chosen.from_ms, chosen.to_ms))
    assert [chosen.apply(unpack_tokens(data)) for data in found or []]


async def forget(db: Database) -> None:
    """Delete the transcript."""
    await db.write(lambda session: transcripts.delete_of(session, ID))


async def seconds(work: Callable[[], Awaitable[None]], rounds: int = ROUNDS) -> list[float]:
    """How long each of some rounds took."""
    taken = []
    for _ in range(rounds):
        gc.collect()
        begun = time.perf_counter()
        await work()
        taken.append(time.perf_counter() - begun)
    return taken


async def round_trip(db: Database, document: bytes, *, searchable: bool) -> float:
    """Shortest time to store a transcript and read it back."""
    best = float("inf")
    for _ in range(ROUNDS):
        gc.collect()
        begun = time.perf_counter()
        await store(db, document, searchable=searchable)
        await read(db)
        best = min(best, time.perf_counter() - begun)
        await forget(db)
    return best


async def growth(db: Database, work: Awaitable[None]) -> float:
    """By how many bytes the whole database grows."""
    before = await size(db)
    await work
    return await size(db) - before


async def size(db: Database) -> int:
    """Bytes of the whole database that are in use."""
    query = (
        "SELECT (page_count - freelist_count) * page_size"
        " FROM pragma_page_count, pragma_page_size, pragma_freelist_count"
    )
    if not db.is_sqlite:
        query = "SELECT pg_database_size(current_database())"
    return int(await value(db, query))


async def bench(name: str, url: str, plain: bytes, largest: bytes) -> None:
    """Print the figures of one database."""
    async with open_database(url, Notifier()) as db:
        rows = await growth(db, store(db, plain, searchable=False, name="first")) / 100_000
        report(f"{name}, growth of the database, 100,000 tokens", rows, 15, "bytes/token")
        whole = await growth(db, store(db, plain)) / 100_000
        print(f"{name}, the search index comes on top with {whole - rows:.1f} bytes/token")
        full = min(await seconds(lambda: read(db)))
        window = statistics.median(await seconds(lambda: read_window(db, 12_000_000), 40))
        report(f"{name}, 60 s window against a full read of {full * 1000:.0f} ms", window / full, 1 / 20, "x")
        await forget(db)
        bare = min(await seconds(lambda: store_and_read(plain)))
        alone = await round_trip(db, plain, searchable=False)
        report(f"{name}, store and read, bare codec {bare * 1000:.0f} ms", alone / bare, 1.5, "x")
        searchable = await round_trip(db, plain, searchable=True)
        report(f"{name}, the same with the search index", searchable / bare, 1.5, "x")
        await stall(name, db, largest)


async def stall(name: str, db: Database, largest: bytes) -> None:
    """Print how long others wait, and how much memory it takes, while the largest comes and goes."""

    async def there_and_back() -> None:
        await store(db, largest)
        await serve(db)
        await forget(db)

    stalls = [await longest_stall(there_and_back) for _ in range(ROUNDS)]
    report(f"{name}, longest stall, 150,000 tokens", min(stalls), 20, "ms")
    tracemalloc.start()
    await there_and_back()
    report(f"{name}, memory for that", tracemalloc.get_traced_memory()[1] / 1e6, 64, "MB")
    tracemalloc.stop()


async def main() -> None:
    """Measure and print."""
    plain, largest = body(tokens(100_000)), body(tokens(150_000, translated=True))
    settle_memory()  # as the process of a relay does
    with ready_databases() as urls:
        for name, url in urls.items():
            await bench(name, url, plain, largest)


if __name__ == "__main__":
    asyncio.run(main())
