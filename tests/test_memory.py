"""Memory of the real process: small when idle, and the same whatever comes in. `bench/memory.py` takes 1 GB."""

import asyncio

import pytest

from bench.memory import ADDED_TARGET, IDLE_TARGET, measure


@pytest.mark.long  # its sibling is in test_api_files.py: the same in the test's own process
async def test_a_file_larger_than_what_may_be_added_passes_through_in_constant_memory(sqlite_url: str) -> None:
    await pass_through(100, sqlite_url)


@pytest.mark.long
async def test_a_large_file_passes_through_in_constant_memory(database_url: str) -> None:
    await pass_through(200, database_url)


async def pass_through(megabytes: int, database_url: str) -> None:
    """In at the front, into the database, out to Soniox: nowhere is the file held as a whole."""
    figures = await asyncio.to_thread(measure, megabytes, database_url)
    assert 20 < figures.idle < 1.1 * IDLE_TARGET  # what a run of the bench says counts; it varies with the machine
    assert figures.added_by_upload < ADDED_TARGET
    assert figures.added_by_forwarding < ADDED_TARGET
