"""kill -9 at every named point: nothing is lost, nothing is created twice, nobody hears two event ids."""

import asyncio

import pytest

from tests.chaos.points import POINTS
from tests.support.relay_processes import open_relay_processes

ALTERNATING = [(point, ("sqlite_url", "postgres_database")[place % 2]) for place, point in enumerate(POINTS)]


@pytest.fixture
def url_of_database(request: pytest.FixtureRequest) -> str:
    """The database of the fixture that a test names."""
    return str(request.getfixturevalue(request.param))


@pytest.mark.parametrize(("point", "url_of_database"), ALTERNATING, indirect=["url_of_database"])
async def test_after_a_crash_every_job_has_one_result_and_one_transcription_at_soniox(
    url_of_database: str, point: str
) -> None:
    await crash(url_of_database, point, jobs=3)


@pytest.mark.long
@pytest.mark.parametrize("point", POINTS)
async def test_after_a_crash_with_more_work_under_way_the_same_holds_on_either_database(
    database_url: str, point: str
) -> None:
    await crash(database_url, point, jobs=6)


async def crash(database_url: str, point: str, jobs: int) -> None:
    """Let the relay die at the point, start it again and account for every job."""
    async with open_relay_processes(database_url) as processes:
        if point.startswith("sweep"):
            await processes.lose_webhooks(4 * jobs)
        await processes.start(point)
        submitting = [
            asyncio.create_task(processes.submit(number, with_file=number % 2 == 0)) for number in range(jobs)
        ]
        assert await processes.died(within_s=20), f"the relay never came to the point: {point}"
        await processes.start()
        await asyncio.gather(*submitting)
        account = await processes.settled(within_s=45)
        assert account.is_clean(), account
        assert account.jobs == jobs
        assert await processes.stop() == 0
