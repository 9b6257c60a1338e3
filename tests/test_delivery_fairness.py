"""One bad receiver harms nobody: fair turns, windows, rates and breakers, which all workers see."""

import asyncio
import contextlib
from collections import Counter

import pytest
from starlette.responses import Response

from service.pipeline.deliver import deliver
from service.store.endpoints import ReceiverFailure, count_failures
from service.tables import Event
from service.tables import Receiver as ReceiverRow
from tests.support.hostile import answer, hang, hostile_server
from tests.support.receiver import Receiver
from tests.support.relay_app import RelayApp
from tests.support.servers import serving
from tests.support.simulation.deliveries import DeliverySimulation, open_deliveries

DAY_S = 24 * 3600.0


async def test_a_backlog_of_one_takes_no_turn_from_the_others(database_url: str) -> None:
    async with open_deliveries(database_url) as simulation:
        busy = await simulation.add_endpoint("http://127.0.0.1:9/busy", event_types=["transcription.failed"])
        await simulation.append(500, type="transcription.failed")
        simulation.clock.forward(1)
        quiet = [
            await simulation.add_endpoint(f"http://127.0.0.1:9/{number}", event_types=["ping"])
            for number in range(9)
        ]
        await simulation.append(1, type="ping")
        claimed = Counter(parcel.endpoint_id for parcel in await simulation.claim(16))
        assert claimed == {busy.id: 7, **{endpoint.id: 1 for endpoint in quiet}}


async def test_no_more_are_in_flight_than_an_endpoint_takes_whoever_claims(database_url: str) -> None:
    async with open_deliveries(database_url) as simulation:
        await simulation.add_endpoint("http://127.0.0.1:9/", max_in_flight=3)
        await simulation.append(20)
        rounds = await asyncio.gather(*(simulation.claim() for _ in range(8)))
        assert sum(len(parcels) for parcels in rounds) == 3
        assert await simulation.claim() == []
        simulation.clock.forward(60)  # their worker died: the leases end
        assert len(await simulation.claim()) == 3


async def test_a_rate_is_kept_with_a_second_of_savings_and_spends_no_try(database_url: str) -> None:
    receiver = Receiver()
    async with serving(receiver.app()) as server, open_deliveries(database_url) as simulation:
        await simulation.add_endpoint(f"{server.url}/events", rate_per_s=5.0)
        await simulation.append(40)
        sent = []
        for _ in range(8):
            sent.append(await simulation.run())
            simulation.clock.forward(1)
        assert sum(sent) == 40
        assert max(sent) <= 5
        simulation.clock.forward(3600)
        await simulation.append(40)
        assert await simulation.run() <= 5  # an hour of silence is not saved up


async def test_two_workers_do_not_spend_a_rate_twice(database_url: str) -> None:
    async with open_deliveries(database_url) as simulation, open_deliveries(database_url) as other:
        await simulation.add_endpoint("http://127.0.0.1:9/", rate_per_s=4.0, max_in_flight=100)
        await simulation.append(60)
        other.clock.now_ms = simulation.clock()
        for _ in range(5):
            claimed = await asyncio.gather(*(one.claim(10) for one in (simulation, other) * 6))
            assert sum(len(parcels) for parcels in claimed) == 4
            simulation.clock.forward(1)
            other.clock.forward(1)


async def test_a_slow_rate_is_kept_too(database_url: str) -> None:
    receiver = Receiver()
    async with serving(receiver.app()) as server, open_deliveries(database_url) as simulation:
        await simulation.add_endpoint(f"{server.url}/events", rate_per_s=0.1)
        await simulation.append(3)
        sent = []
        for _ in range(25):
            sent.append(await simulation.run())
            simulation.clock.forward(1)
        assert [second for second, number in enumerate(sent) if number] == [0, 10, 20]


async def test_after_some_failures_one_delivery_at_a_time_probes_and_the_rest_keep_their_tries(
    database_url: str,
) -> None:
    receiver = Receiver(answer=lambda _request: Response(status_code=500))
    async with (
        serving(receiver.app()) as server,
        open_deliveries(database_url, relay_delivery_schedule_s=(600.0,) * 16) as simulation,
    ):
        endpoint = await simulation.add_endpoint(f"{server.url}/events")
        await simulation.append(100)
        await simulation.run()
        tried = len(receiver.requests)
        assert tried <= 20
        for _ in range(60):
            simulation.clock.forward(5)
            await simulation.run()
        assert len(receiver.requests) - tried <= 6  # one at a time, a minute apart in the end
        assert len(await simulation.attempts_at(endpoint)) == len(receiver.requests)

        receiver.answer = lambda _request: Response()
        simulation.clock.forward(61)
        healed = await simulation.run()
        assert healed >= 70  # one success opens it for all that is due
        simulation.clock.forward(700)
        await simulation.run()
        assert {delivery.status for delivery in await simulation.all_deliveries()} == {"delivered"}


async def test_a_single_delivery_is_never_slowed_by_the_breaker(database_url: str) -> None:
    async with (
        hostile_server({"500": answer(500)}) as url,
        open_deliveries(database_url, relay_delivery_schedule_s=(0.5,) * 12) as simulation,
    ):
        await simulation.add_endpoint(f"{url}/500")
        await simulation.append()
        tries = await simulation.run()
        while due_ms := await simulation.next_due_ms():
            simulation.clock.now_ms = due_ms
            assert await simulation.run() == 1
            tries += 1
        assert tries == 13


async def test_workers_share_what_they_learn(database_url: str) -> None:
    async with open_deliveries(database_url) as simulation, open_deliveries(database_url) as other:
        endpoint = await simulation.add_endpoint("http://127.0.0.1:9/")
        await simulation.append(5)
        until_ms = simulation.clock() + 30_000
        failures = [ReceiverFailure(endpoint.id, simulation.clock(), until_ms)] * 6
        await simulation.relay.db.write(lambda connection: count_failures(connection, failures))
        other.clock.now_ms = simulation.clock()
        assert await other.claim() == []
        other.clock.forward(30)
        assert len(await other.claim()) == 1


async def test_five_days_of_nothing_but_failures_disable_an_endpoint_and_the_others_hear_of_it(
    database_url: str,
) -> None:
    receiver = Receiver(answer=lambda request: Response(status_code=500 if request.path == "/bad" else 200))
    async with (
        serving(receiver.app()) as server,
        open_deliveries(database_url, relay_delivery_schedule_s=(3600.0,) * 200) as simulation,
    ):
        bad = await simulation.add_endpoint(f"{server.url}/bad", event_types=["transcription.completed"])
        await simulation.add_endpoint(f"{server.url}/good", event_types=["endpoint.disabled"])
        (event,) = await simulation.append(1)
        started_ms = simulation.clock()
        while (await simulation.endpoint(bad.id)).enabled:
            await simulation.run()
            simulation.clock.forward(1800)
        days = (simulation.clock() - started_ms) / 1000 / DAY_S
        assert 5 <= days < 5.2
        await simulation.run()
        assert len(receiver.at("/good")) == 1
        (told,) = [row for row in await simulation.all_of(Event) if row.type == "endpoint.disabled"]
        assert bad.id.encode() in told.body

        receiver.answer = lambda _request: Response()
        await simulation.enable(bad)
        await simulation.run()
        assert receiver.at("/bad")[-1].headers["webhook-id"] == event.id
        (row,) = [row for row in await simulation.all_of(ReceiverRow) if row.id == bad.id]
        assert (row.failures, row.failing_since_ms) == (0, None)


async def test_one_success_in_five_days_keeps_an_endpoint(database_url: str) -> None:
    receiver = Receiver(answer=lambda _request: Response(status_code=500))
    async with (
        serving(receiver.app()) as server,
        open_deliveries(database_url, relay_delivery_schedule_s=(7200.0,) * 200) as simulation,
    ):
        endpoint = await simulation.add_endpoint(f"{server.url}/events")
        await simulation.append(1)
        for step in range(240):  # 10 days
            if step == 48 * 2:
                receiver.answer = lambda _request: Response()
                await simulation.append(1)
                simulation.clock.forward(7200)
                await simulation.run()
                receiver.answer = lambda _request: Response(status_code=500)
                await simulation.append(1)
            await simulation.run()
            simulation.clock.forward(1800)
        assert (await simulation.endpoint(endpoint.id)).enabled


async def test_callbacks_to_a_hanging_server_hold_few_hands_and_are_never_disabled(database_url: str) -> None:
    async with open_deliveries(database_url) as simulation:
        for _ in range(4):
            await simulation.append_callback("http://127.0.0.1:9/hang", 10)
        await simulation.append_callback("http://127.0.0.1:10/fine", 2)
        claimed = Counter(parcel.receiver.rpartition(":")[2] for parcel in await simulation.claim())
        assert claimed == {"9": 10, "10": 2}


async def test_while_one_endpoint_hangs_all_others_get_all_of_theirs(relay_app: RelayApp) -> None:
    async with hostile_server({"hang": hang}) as url:
        for number in range(10):
            await relay_app.client.post("/v1/endpoints", json={"url": f"{url}/hang", "description": str(number)})
        await relay_app.add_endpoint("/events")
        jobs = [await relay_app.submit() for _ in range(20)]
        for job in jobs:
            await relay_app.finished(job["id"])
        await relay_app.until_received("/events", 20, within_s=8)


@pytest.mark.parametrize("workers", [2, 4])
async def test_many_workers_send_each_delivery_once(database_url: str, workers: int) -> None:
    receiver = Receiver()
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(receiver.app()))
        crew: list[DeliverySimulation] = [
            await stack.enter_async_context(open_deliveries(database_url)) for _ in range(workers)
        ]
        for number in range(5):
            await crew[0].add_endpoint(f"{server.url}/{number}")
        await crew[0].append(60)
        for worker in crew:
            worker.clock.now_ms = crew[0].clock()

        async def work(simulation: DeliverySimulation) -> None:
            idle = 0
            while idle < 5:
                parcels = await simulation.claim(10)
                await asyncio.gather(*(deliver(simulation.relay, parcel) for parcel in parcels))
                idle = 0 if parcels else idle + 1

        await asyncio.gather(*(work(worker) for worker in crew))
        await crew[0].run()
        sent = Counter((request.path, request.headers["webhook-id"]) for request in receiver.requests)
        assert len(sent) == 300
        assert set(sent.values()) == {1}
