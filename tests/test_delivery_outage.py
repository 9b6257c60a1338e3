"""Long outages: nothing is lost, every event keeps its id, and what waited can be sent again."""

import os
from collections import Counter
from typing import Any

import pytest
from starlette.responses import Response

from service.cli.demo.servers import free_port
from service.store import deliveries
from service.tables import Delivery, Recovery
from tests.support.receiver import Receiver
from tests.support.relay_app import RelayApp, as_json, open_relay_app
from tests.support.servers import serving
from tests.support.simulation.deliveries import DeliverySimulation, open_deliveries

DEFAULT_SCHEDULE = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, 10800.0, 21600.0, 43200.0, *(86400.0,) * 7)
HOUR_S = 3600.0
MANY = int(os.environ.get("OUTAGE_EVENTS", "1000"))  # of the long form; 10,000 pass too and take 40 s


async def _pass_time(simulation: DeliverySimulation, hours: float) -> int:
    """Let time pass, working whenever something is due; how many tries that were."""
    end_ms = simulation.clock() + int(hours * HOUR_S * 1000)
    tries = 0
    while simulation.clock() < end_ms:
        tries += await simulation.run()
        simulation.clock.forward(1800)
    return tries


@pytest.mark.parametrize("number", [100, pytest.param(MANY, marks=pytest.mark.long)])
async def test_a_receiver_that_is_down_for_72_hours_gets_everything_afterwards(
    database_url: str, number: int
) -> None:
    port = free_port()
    async with open_deliveries(database_url, relay_delivery_schedule_s=DEFAULT_SCHEDULE) as simulation:
        endpoint = await simulation.add_endpoint(f"http://127.0.0.1:{port}/events")
        sent = []
        for _ in range(10):
            sent += await simulation.append(number // 10)
            await _pass_time(simulation, 7.2)
        assert (await simulation.endpoint(endpoint.id)).enabled
        receiver = Receiver()
        async with serving(receiver.app(), port):
            for _ in range(30):
                await simulation.run()
                simulation.clock.forward(HOUR_S)
        received = Counter(request.headers["webhook-id"] for request in receiver.requests)
        assert set(received) == {event.id for event in sent}
        assert set(received.values()) == {1}
        assert {row.status for row in await simulation.all_deliveries()} == {"delivered"}


async def _exhaust(simulation: DeliverySimulation, number: int) -> None:
    await simulation.append(number)
    for _ in range(200):
        await simulation.run()
        simulation.clock.forward(60)
    assert {row.status for row in await simulation.all_deliveries()} == {"exhausted"}


async def test_a_recovery_that_is_killed_goes_on_without_skipping_or_repeating(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.pipeline.deliver.BATCH", 7)
    async with open_deliveries(database_url, relay_delivery_schedule_s=(0.0,)) as simulation:
        endpoint = await simulation.add_endpoint("http://127.0.0.1:9/events", max_in_flight=100)
        await simulation.execute("UPDATE endpoints SET enabled = true")
        sent = await simulation.append(50)
        await simulation.execute("UPDATE deliveries SET status = 'exhausted', due_at_ms = NULL, tries = 2")
        order = Recovery(
            id="rcv_1",
            endpoint_id=endpoint.id,
            since_ms=0,
            until_ms=simulation.clock(),
            expected=0,
            at_created_ms=-1,
            created_at_ms=simulation.clock(),
            due_at_ms=simulation.clock(),
        )
        assert (
            await simulation.relay.db.write(lambda connection: deliveries.create_recovery(connection, order)) == 50
        )
        for step in range(30):
            if step % 2:
                await simulation.run_recovery_step()
            else:
                await simulation.kill_recovery_step()
            simulation.clock.forward(30)
        (row,) = await simulation.all_of(Recovery)
        assert (row.recovered, row.due_at_ms) == (50, None)
        assert row.finished_at_ms
        claimed: list[str] = []
        while parcels := await simulation.claim():
            claimed += [parcel.event_id for parcel in parcels]
        assert sorted(claimed) == sorted(event.id for event in sent)


async def test_recover_counts_and_sends_again_what_was_not_delivered_since_then(relay_app: RelayApp) -> None:
    relay_app.receiver.answer = lambda _request: Response(status_code=500)
    endpoint = await relay_app.add_endpoint()
    early = await relay_app.finished((await relay_app.submit())["id"])
    await relay_app.until_received("/events", 4)
    late = await relay_app.finished((await relay_app.submit())["id"])
    await relay_app.until_received("/events", 8)
    failed = {request.headers["webhook-id"] for request in relay_app.receiver.at("/events")}
    path = f"/v1/endpoints/{endpoint['id']}"

    async def are_exhausted() -> bool:
        listed = await relay_app.client.get("/v1/deliveries", params={"status": "exhausted"})
        return len(listed.json()["deliveries"]) == 2

    await relay_app.until(are_exhausted)
    relay_app.receiver.answer = lambda _request: Response()
    dry = await relay_app.client.post(f"{path}/recover", json={"since": early["created_at"], "dry_run": True})
    assert (dry.status_code, dry.json()["count"], dry.json()["dry_run"]) == (200, 2, True)
    assert (await relay_app.client.get(f"{path}/recoveries")).json() == {"recoveries": []}
    dry = await relay_app.client.post(f"{path}/recover", json={"since": late["created_at"], "dry_run": True})
    assert dry.json()["count"] == 1
    relay_app.receiver.requests.clear()

    ordered = await relay_app.client.post(f"{path}/recover", json={"since": early["created_at"]})
    assert (ordered.status_code, ordered.json()["count"]) == (202, 2)
    await relay_app.until_received("/events", 2)
    assert {request.headers["webhook-id"] for request in relay_app.receiver.at("/events")} == failed

    async def is_finished() -> bool:
        (shown,) = (await relay_app.client.get(f"{path}/recoveries")).json()["recoveries"]
        return shown["id"] == ordered.json()["id"] and shown["recovered"] == 2 and bool(shown["finished_at"])

    await relay_app.until(is_finished)
    assert len(relay_app.receiver.at("/events")) == 2
    for bad in ({}, {"since": "yesterday"}, {"since": early["created_at"], "until": 1}):
        assert (await relay_app.client.post(f"{path}/recover", json=bad)).status_code == 400


async def test_recover_does_not_wait_for_the_next_try_of_the_schedule(database_url: str) -> None:
    async with open_relay_app(database_url, relay_delivery_schedule_s=(3600.0,)) as relay_app:
        relay_app.receiver.answer = lambda _request: Response(status_code=503)
        endpoint = await relay_app.add_endpoint()
        job = await relay_app.finished((await relay_app.submit())["id"])
        await relay_app.until_received("/events", 1)
        relay_app.receiver.answer = lambda _request: Response()

        async def has_failed() -> bool:
            listed = (await relay_app.client.get("/v1/deliveries")).json()["deliveries"]
            return [row["attempt_count"] for row in listed] == [1]

        await relay_app.until(has_failed)
        body = {"since": job["created_at"]}
        ordered = await relay_app.client.post(f"/v1/endpoints/{endpoint['id']}/recover", json=body)
        assert ordered.json()["count"] == 1
        await relay_app.until_received("/events", 2)


async def test_a_delivery_shows_every_try_and_can_be_sent_again_at_any_time(relay_app: RelayApp) -> None:
    answers = iter([500, 503, 200])
    relay_app.receiver.answer = lambda _request: Response("\0no <b>", status_code=next(answers, 200))
    endpoint = await relay_app.add_endpoint()
    await relay_app.finished((await relay_app.submit())["id"])
    await relay_app.until_received("/events", 3)

    async def status() -> str:
        (row,) = (await relay_app.client.get("/v1/deliveries")).json()["deliveries"]
        return str(row["status"])

    async def is_delivered() -> bool:
        return await status() == "delivered"

    await relay_app.until(is_delivered)
    (row,) = (await relay_app.client.get("/v1/deliveries", params={"endpoint_id": endpoint["id"]})).json()[
        "deliveries"
    ]
    shown = (await relay_app.client.get(f"/v1/deliveries/{row['id']}")).json()
    assert [attempt["status_code"] for attempt in shown["attempts"]] == [500, 503, 200]
    assert [attempt["error"] is None for attempt in shown["attempts"]] == [False, False, True]
    assert {attempt["answer"] for attempt in shown["attempts"]} == {"\ufffdno <b>"}
    assert all(attempt["at"].endswith("Z") and attempt["duration_ms"] >= 0 for attempt in shown["attempts"])
    assert shown["attempt_count"] == row["attempt_count"] == 3

    again = await relay_app.client.post(f"/v1/deliveries/{row['id']}/retry")
    assert again.status_code == 200
    await relay_app.until_received("/events", 4)
    await relay_app.until(is_delivered)
    assert len({request.headers["webhook-id"] for request in relay_app.receiver.at("/events")}) == 1
    assert len({request.body for request in relay_app.receiver.at("/events")}) == 1
    assert (await relay_app.client.post(f"/v1/deliveries/{'dlv_' + '0' * 32}/retry")).status_code == 404


async def test_deliveries_are_listed_by_endpoint_status_and_event_page_by_page(relay_app: RelayApp) -> None:
    endpoint = await relay_app.add_endpoint()
    await relay_app.add_endpoint("/other")
    for _ in range(3):
        await relay_app.finished((await relay_app.submit())["id"])
    await relay_app.until_received("/events", 3)
    await relay_app.until_received("/other", 3)

    async def listed(**wanted: str) -> list[str]:
        answer = await relay_app.client.get("/v1/deliveries", params=wanted)
        assert answer.status_code == 200, answer.text
        return [row["id"] for row in answer.json()["deliveries"]]

    async def all_delivered() -> bool:
        return len(await listed(status="delivered")) == 6

    await relay_app.until(all_delivered)
    event_id = (await relay_app.client.get("/v1/events")).json()["events"][0]["id"]
    assert len(await listed(event_id=event_id)) == 2
    assert len(await listed(event_id=event_id, endpoint_id=endpoint["id"], status="delivered")) == 1
    assert await listed(status="pending") == []
    first = (await relay_app.client.get("/v1/deliveries", params={"limit": 4})).json()
    assert len(first["deliveries"]) == 4
    rest = await listed(cursor=first["next_page_cursor"])
    assert sorted([row["id"] for row in first["deliveries"]] + rest) == sorted(await listed())
    for bad in ({"status": "lost"}, {"cursor": "nonsense"}, {"limit": "0"}):
        assert (await relay_app.client.get("/v1/deliveries", params=bad)).status_code == 400


async def test_the_callers_own_webhook_is_tried_with_the_same_patience(relay_app: RelayApp) -> None:
    answers = iter([500, 410, 429])
    relay_app.receiver.answer = lambda _request: Response(status_code=next(answers, 200))
    job = await relay_app.submit(webhook_url=f"{relay_app.receiver_url}/mine")
    await relay_app.finished(job["id"])
    await relay_app.until_received("/mine", 2)
    given_up: list[dict[str, Any]] = []

    async def is_given_up() -> bool:
        answer = await relay_app.client.get("/v1/deliveries", params={"status": "exhausted"})
        given_up[:] = answer.json()["deliveries"]
        return len(given_up) == 1

    await relay_app.until(is_given_up)
    assert len(relay_app.receiver.at("/mine")) == 2  # 410: it wants no more
    (row,) = given_up
    assert row["next_attempt_at"] is None
    assert row["endpoint_id"] is None
    await relay_app.client.post(f"/v1/deliveries/{row['id']}/retry")
    await relay_app.until_received("/mine", 4)
    assert {request.body for request in relay_app.receiver.at("/mine")} == {relay_app.receiver.at("/mine")[0].body}
    assert as_json(relay_app.receiver.at("/mine")[0].body) == {"id": job["id"], "status": "completed"}

    async def is_delivered() -> bool:
        shown = (await relay_app.client.get(f"/v1/deliveries/{row['id']}")).json()
        return bool(shown["status"] == "delivered")

    await relay_app.until(is_delivered)
    shown = (await relay_app.client.get(f"/v1/deliveries/{row['id']}")).json()
    assert [attempt["status_code"] for attempt in shown["attempts"]] == [500, 410, 429, 200]


async def test_a_retry_while_a_try_is_under_way_leaves_the_new_tries_standing(database_url: str) -> None:
    async with open_deliveries(database_url) as simulation:
        await simulation.add_endpoint("http://127.0.0.1:9/")
        await simulation.append()
        (parcel,) = await simulation.claim()
        await simulation.send_again(parcel.id)
        await simulation.notify(parcel)
        (row,) = await simulation.all_of(Delivery)
        assert (row.status, row.tries, row.due_at_ms) == ("pending", 0, simulation.clock())
