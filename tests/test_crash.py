"""kill -9 at every named point: nothing is lost, nothing is created twice, nobody hears two event ids."""

import asyncio

import pytest

from tests.chaos.points import POINTS
from tests.support.relay_processes import open_relay_processes

JOBS = 6


@pytest.mark.parametrize("point", POINTS)
async def test_after_a_crash_every_job_has_one_result_and_one_transcription_at_soniox(
    database_url: str, point: str
) -> None:
    async with open_relay_processes(database_url) as processes:
        if point.startswith("sweep"):
            await processes.lose_webhooks(4 * JOBS)
        await processes.start(point)
        submitting = [
            asyncio.create_task(processes.submit(number, with_file=number % 2 == 0)) for number in range(JOBS)
        ]
        assert await processes.died(within_s=20), f"the relay never came to the point: {point}"
        await processes.start()
        await asyncio.gather(*submitting)
        account = await processes.settled(within_s=45)
        assert account.is_clean(), account
        assert account.jobs == JOBS
        assert await processes.stop() == 0
