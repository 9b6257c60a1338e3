"""kill -9 at every named point: nothing is lost, nothing is created twice, nobody hears two event ids."""

import asyncio

import pytest

from tests.chaos.points import POINTS
from tests.chaos.trial import open_theatre

JOBS = 6


@pytest.mark.parametrize("point", POINTS)
async def test_after_a_crash_every_job_has_one_result_and_one_transcription_at_soniox(
    database_url: str, point: str
) -> None:
    async with open_theatre(database_url) as theatre:
        if point.startswith("sweep"):
            await theatre.lose_webhooks(4 * JOBS)
        await theatre.start(point)
        submitting = [
            asyncio.create_task(theatre.submit(number, with_file=number % 2 == 0)) for number in range(JOBS)
        ]
        assert await theatre.died(within_s=20), f"the relay never came to the point: {point}"
        await theatre.start()
        await asyncio.gather(*submitting)
        account = await theatre.settled(within_s=45)
        assert account.is_clean(), account
        assert account.jobs == JOBS
        assert await theatre.stop() == 0
