"""One bad receiver harms nobody: fair turns, windows, rates and breakers, which all workers see."""

import asyncio
import contextlib
from collections import Counter

import pytest
from starlette.responses import Response

from service.pipeline.notify import notify
from service.store.receivers import Failure, count_failures
from service.tables import Event
from service.tables import Receiver as ReceiverRow
from tests.support.dispatch import Dispatch, open_dispatch
from tests.support.hostile import answer, hang, hostile_server
from tests.support.house import House
from tests.support.receiver import Receiver
from tests.support.servers import serving

DAY_S = 24 * 3600.0


async def test_a_backlog_of_one_takes_no_turn_from_the_others(database_url: str) -> None:
    async with open_dispatch(database_url) as dispatch:
        busy = await dispatch.add_endpoint("http://127.0.0.1:9/busy", event_types=["transcription.failed"])
        await dispatch.append(500, type="transcription.failed")
        dispatch.clock.forward(1)
        quiet = [
            await dispatch.add_endpoint(f"http://127.0.0.1:9/{number}", event_types=["ping"])
            for number in range(9)
        ]
        await dispatch.append(1, type="ping")
        claimed = Counter(parcel.endpoint_id for parcel in await dispatch.claim(16))
        assert claimed == {busy.id: 7, **{endpoint.id: 1 for endpoint in quiet}}


async def test_no_more_are_in_flight_than_an_endpoint_takes_whoever_claims(database_url: str) -> None:
    async with open_dispatch(database_url) as dispatch:
        await dispatch.add_endpoint("http://127.0.0.1:9/", max_in_flight=3)
        await dispatch.append(20)
        rounds = await asyncio.gather(*(dispatch.claim() for _ in range(8)))
        assert sum(len(parcels) for parcels in rounds) == 3
        assert await dispatch.claim() == []
        dispatch.clock.forward(60)  # their worker died: the leases end
        assert len(await dispatch.claim()) == 3


async def test_a_rate_is_kept_with_a_second_of_savings_and_spends_no_try(database_url: str) -> None:
    receiver = Receiver()
    async with serving(receiver.app()) as server, open_dispatch(database_url) as dispatch:
        await dispatch.add_endpoint(f"{server.url}/events", rate_per_s=5.0)
        await dispatch.append(40)
        sent = []
        for _ in range(8):
            sent.append(await dispatch.run())
            dispatch.clock.forward(1)
        assert sum(sent) == 40
        assert max(sent) <= 5
        dispatch.clock.forward(3600)
        await dispatch.append(40)
        assert await dispatch.run() <= 5  # an hour of silence is not saved up


async def test_two_workers_do_not_spend_a_rate_twice(database_url: str) -> None:
    async with open_dispatch(database_url) as dispatch, open_dispatch(database_url) as other:
        await dispatch.add_endpoint("http://127.0.0.1:9/", rate_per_s=4.0, max_in_flight=100)
        await dispatch.append(60)
        other.clock.now_ms = dispatch.clock()
        for _ in range(5):
            claimed = await asyncio.gather(*(one.claim(10) for one in (dispatch, other) * 6))
            assert sum(len(parcels) for parcels in claimed) == 4
            dispatch.clock.forward(1)
            other.clock.forward(1)


async def test_a_slow_rate_is_kept_too(database_url: str) -> None:
    receiver = Receiver()
    async with serving(receiver.app()) as server, open_dispatch(database_url) as dispatch:
        await dispatch.add_endpoint(f"{server.url}/events", rate_per_s=0.1)
        await dispatch.append(3)
        sent = []
        for _ in range(25):
            sent.append(await dispatch.run())
            dispatch.clock.forward(1)
        assert [second for second, number in enumerate(sent) if number] == [0, 10, 20]


async def test_after_some_failures_one_delivery_at_a_time_probes_and_the_rest_keep_their_tries(
    database_url: str,
) -> None:
    receiver = Receiver(answer=lambda _request: Response(status_code=500))
    async with (
        serving(receiver.app()) as server,
        open_dispatch(database_url, relay_delivery_schedule_s=(600.0,) * 16) as dispatch,
    ):
        endpoint = await dispatch.add_endpoint(f"{server.url}/events")
        await dispatch.append(100)
        await dispatch.run()
        tried = len(receiver.requests)
        assert tried <= 20
        for _ in range(60):
            dispatch.clock.forward(5)
            await dispatch.run()
        assert len(receiver.requests) - tried <= 6  # one at a time, a minute apart in the end
        assert len(await dispatch.attempts_at(endpoint)) == len(receiver.requests)

        receiver.answer = lambda _request: Response()
        dispatch.clock.forward(61)
        healed = await dispatch.run()
        assert healed >= 70  # one success opens it for all that is due
        dispatch.clock.forward(700)
        await dispatch.run()
        assert {delivery.status for delivery in await dispatch.all_deliveries()} == {"delivered"}


async def test_a_single_delivery_is_never_slowed_by_the_breaker(database_url: str) -> None:
    async with (
        hostile_server({"500": answer(500)}) as url,
        open_dispatch(database_url, relay_delivery_schedule_s=(0.5,) * 12) as dispatch,
    ):
        await dispatch.add_endpoint(f"{url}/500")
        await dispatch.append()
        tries = await dispatch.run()
        while due_ms := await dispatch.next_due_ms():
            dispatch.clock.now_ms = due_ms
            assert await dispatch.run() == 1
            tries += 1
        assert tries == 13


async def test_workers_share_what_they_learn(database_url: str) -> None:
    async with open_dispatch(database_url) as dispatch, open_dispatch(database_url) as other:
        endpoint = await dispatch.add_endpoint("http://127.0.0.1:9/")
        await dispatch.append(5)
        until_ms = dispatch.clock() + 30_000
        failures = [Failure(endpoint.id, dispatch.clock(), until_ms)] * 6
        await dispatch.relay.db.write(lambda connection: count_failures(connection, failures))
        other.clock.now_ms = dispatch.clock()
        assert await other.claim() == []
        other.clock.forward(30)
        assert len(await other.claim()) == 1


async def test_five_days_of_nothing_but_failures_disable_an_endpoint_and_the_others_hear_of_it(
    database_url: str,
) -> None:
    receiver = Receiver(answer=lambda request: Response(status_code=500 if request.path == "/bad" else 200))
    async with (
        serving(receiver.app()) as server,
        open_dispatch(database_url, relay_delivery_schedule_s=(3600.0,) * 200) as dispatch,
    ):
        bad = await dispatch.add_endpoint(f"{server.url}/bad", event_types=["transcription.completed"])
        await dispatch.add_endpoint(f"{server.url}/good", event_types=["endpoint.disabled"])
        (event,) = await dispatch.append(1)
        started_ms = dispatch.clock()
        while (await dispatch.endpoint(bad.id)).enabled:
            await dispatch.run()
            dispatch.clock.forward(1800)
        days = (dispatch.clock() - started_ms) / 1000 / DAY_S
        assert 5 <= days < 5.2
        await dispatch.run()
        assert len(receiver.at("/good")) == 1
        (told,) = [row for row in await dispatch.all_of(Event) if row.type == "endpoint.disabled"]
        assert bad.id.encode() in told.body

        receiver.answer = lambda _request: Response()
        await dispatch.enable(bad)
        await dispatch.run()
        assert receiver.at("/bad")[-1].headers["webhook-id"] == event.id
        (row,) = [row for row in await dispatch.all_of(ReceiverRow) if row.id == bad.id]
        assert (row.failures, row.failing_since_ms) == (0, None)


async def test_one_success_in_five_days_keeps_an_endpoint(database_url: str) -> None:
    receiver = Receiver(answer=lambda _request: Response(status_code=500))
    async with (
        serving(receiver.app()) as server,
        open_dispatch(database_url, relay_delivery_schedule_s=(7200.0,) * 200) as dispatch,
    ):
        endpoint = await dispatch.add_endpoint(f"{server.url}/events")
        await dispatch.append(1)
        for step in range(240):  # 10 days
            if step == 48 * 2:
                receiver.answer = lambda _request: Response()
                await dispatch.append(1)
                dispatch.clock.forward(7200)
                await dispatch.run()
                receiver.answer = lambda _request: Response(status_code=500)
                await dispatch.append(1)
            await dispatch.run()
            dispatch.clock.forward(1800)
        assert (await dispatch.endpoint(endpoint.id)).enabled


async def test_callbacks_to_a_hanging_server_hold_few_hands_and_are_never_disabled(database_url: str) -> None:
    async with open_dispatch(database_url) as dispatch:
        for _ in range(4):
            await dispatch.append_callback("http://127.0.0.1:9/hang", 10)
        await dispatch.append_callback("http://127.0.0.1:10/fine", 2)
        claimed = Counter(parcel.receiver.rpartition(":")[2] for parcel in await dispatch.claim())
        assert claimed == {"9": 10, "10": 2}


async def test_while_one_endpoint_hangs_all_others_get_all_of_theirs(house: House) -> None:
    async with hostile_server({"hang": hang}) as url:
        for number in range(10):
            await house.client.post("/v1/endpoints", json={"url": f"{url}/hang", "description": str(number)})
        await house.add_endpoint("/events")
        jobs = [await house.submit() for _ in range(20)]
        for job in jobs:
            await house.finished(job["id"])
        await house.until_received("/events", 20, within_s=8)


@pytest.mark.parametrize("workers", [2, 4])
async def test_many_workers_send_each_delivery_once(database_url: str, workers: int) -> None:
    receiver = Receiver()
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(receiver.app()))
        crew: list[Dispatch] = [
            await stack.enter_async_context(open_dispatch(database_url)) for _ in range(workers)
        ]
        for number in range(5):
            await crew[0].add_endpoint(f"{server.url}/{number}")
        await crew[0].append(60)
        for worker in crew:
            worker.clock.now_ms = crew[0].clock()

        async def work(dispatch: Dispatch) -> None:
            idle = 0
            while idle < 5:
                parcels = await dispatch.claim(10)
                await asyncio.gather(*(notify(dispatch.relay, parcel) for parcel in parcels))
                idle = 0 if parcels else idle + 1

        await asyncio.gather(*(work(worker) for worker in crew))
        await crew[0].run()
        sent = Counter((request.path, request.headers["webhook-id"]) for request in receiver.requests)
        assert len(sent) == 300
        assert set(sent.values()) == {1}
