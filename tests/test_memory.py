"""Memory of the real process: small when idle, and the same whatever comes in. `bench/memory.py` takes 1 GB."""

import asyncio

from bench.memory import ADDED_TARGET, IDLE_TARGET, measure


async def test_a_large_file_passes_through_in_constant_memory(database_url: str) -> None:
    """In at the front, into the database, out to Soniox: nowhere is it held as a whole."""
    megabytes = 200
    figures = await asyncio.to_thread(measure, megabytes, database_url)
    assert 20 < figures.idle < 1.1 * IDLE_TARGET  # what a run of the bench says counts; it varies with the machine
    assert figures.added_by_upload < ADDED_TARGET
    assert figures.added_by_forwarding < ADDED_TARGET
