"""What receivers do, one after the other, and what comes of it: the outcome, and when the next try is due."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from standardwebhooks import Webhook as Verifier
from starlette.responses import Response

from service.tables import Attempt, Endpoint, Event
from tests.support.hostile import (
    Behaviour,
    answer,
    bomb,
    drip,
    endless,
    hang,
    hostile_server,
    later,
    raw,
    reset,
    self_signed,
)
from tests.support.receiver import Receiver
from tests.support.servers import serving
from tests.support.simulation.deliveries import DeliverySimulation, open_deliveries

WAIT_S = 30.0  # the first wait of the schedule
JITTER = 1.1
DAY_S = 24 * 3600.0
DEADLINE_S = 1.0


@dataclass(frozen=True)
class Case:
    """A behaviour, and what has to come of it."""

    behaviour: Behaviour | Callable[[], Behaviour]
    status_code: int | None
    error: str | None = None
    wait_s: tuple[float, float] | None = (WAIT_S, WAIT_S * JITTER)  # None: no next try is due
    delivered: bool = False
    stays_enabled: bool = True


GZIP = "Content-Encoding: gzip"
OK = b"HTTP/1.1 200 OK\r\n"
CASES: dict[str, Case] = {
    "200": Case(answer(200, body=b"thanks"), 200, wait_s=None, delivered=True),
    "204": Case(answer(204), 204, wait_s=None, delivered=True),
    "301": Case(answer(301, "Location: /200"), 301, "answered 301"),
    "400": Case(answer(400), 400, "answered 400"),
    "404": Case(answer(404), 404, "answered 404"),
    "408": Case(answer(408), 408, "answered 408"),
    "410": Case(answer(410), 410, "answered 410", wait_s=None, stays_enabled=False),
    "429-seconds": Case(answer(429, "Retry-After: 90"), 429, "answered 429", wait_s=(90, 91)),
    "429-date": Case(lambda: answer(429, later(90)), 429, "answered 429", wait_s=(87, 91)),
    "429-past": Case(lambda: answer(429, later(-90)), 429, "answered 429"),
    "429-garbage": Case(answer(429, "Retry-After: soon"), 429, "answered 429"),
    "429-early": Case(answer(429, "Retry-After: 1"), 429, "answered 429"),
    "429-a-year": Case(answer(429, "Retry-After: 31536000"), 429, "answered 429", wait_s=(DAY_S, DAY_S + 1)),
    "500": Case(answer(500, "Retry-After: 90"), 500, "answered 500"),
    "503": Case(answer(503, "Retry-After: 90"), 503, "answered 503", wait_s=(90, 91)),
    "hang": Case(hang, None, "within the deadline"),
    "drip": Case(drip, None, "within the deadline"),
    "endless-body": Case(endless, None, "longer than 65536"),
    "endless-head": Case(raw(OK, *[b"A: " + b"b" * 8000 + b"\r\n"] * 100), None, "answer"),
    "gzip-bomb": Case(
        lambda: answer(200, "Content-Encoding: gzip", body=bomb()), 200, wait_s=None, delivered=True
    ),
    "reset": Case(reset, None, "the connection was"),
    "not-http": Case(raw(b"\0\0\xff\xfe garbage\r\n\r\n"), None, "not proper HTTP"),
    "bad-header": Case(raw(b"HTTP/1.1 200 OK\r\nX: \x00\xff\r\n\r\n"), None, "not proper HTTP"),
    "bad-status": Case(raw(b"HTTP/1.1 99999 ??\r\n\r\n"), None, "not proper HTTP"),
    "nul-body": Case(answer(500, body=b"\0\xff\x1b[31m" * 100), 500, "answered 500"),
    "bad-location": Case(answer(302, "Location: http://[::1"), 302, "answered 302"),
}


async def test_every_behaviour_of_a_receiver_has_its_outcome_and_its_next_moment(
    database_url: str, tmp_path: Path
) -> None:
    behaviours = {
        name: case.behaviour() if name in {"429-date", "429-past", "gzip-bomb"} else case.behaviour  # type: ignore[call-arg]
        for name, case in CASES.items()
    }
    schedule = (WAIT_S, 120.0)
    async with (
        hostile_server(behaviours) as url,  # type: ignore[arg-type]
        hostile_server({"200": answer(200)}, self_signed(tmp_path)) as untrusted,
        open_deliveries(
            database_url, relay_delivery_schedule_s=schedule, relay_delivery_timeout_s=DEADLINE_S
        ) as simulation,
    ):
        add = functools.partial(simulation.add_endpoint, event_types=["transcription.completed"])
        endpoints = {name: await add(f"{url}/{name}") for name in CASES}
        endpoints["bad-tls"] = await add(f"{untrusted}/200")
        endpoints["closed-port"] = await add("http://127.0.0.1:9/")
        endpoints["no-such-name"] = await add("http://relay-tests.invalid/")
        await simulation.append()
        cases = {
            **CASES,
            "bad-tls": Case(answer(200), None, "TLS"),
            "closed-port": Case(answer(200), None, "nothing listens"),
            "no-such-name": Case(answer(200), None, "cannot be resolved"),
        }
        started_ms = simulation.clock()
        assert await simulation.run() == len(cases)
        for name, case in cases.items():
            await _check(simulation, name, case, endpoints[name], started_ms)
        disabled = [event for event in await simulation.all_of(Event) if event.type == "endpoint.disabled"]
        assert len(disabled) == 1


async def _check(
    simulation: DeliverySimulation, name: str, case: Case, endpoint: Endpoint, started_ms: int
) -> None:
    delivery = await simulation.delivery_to(endpoint)
    (attempt,) = [row for row in await simulation.attempts_at(endpoint) if row.delivery_id == delivery.id]
    assert attempt.status_code == case.status_code, (name, attempt.error)
    assert attempt.duration_ms < (DEADLINE_S + 1) * 1000, name
    assert len(attempt.answer) <= 1024, name
    assert (attempt.error is None) if case.error is None else (case.error in (attempt.error or "")), name
    assert delivery.status == ("delivered" if case.delivered else "pending"), name
    assert delivery.tries == 1, name
    assert (await simulation.endpoint(endpoint.id)).enabled is case.stays_enabled, name
    if case.wait_s is None:
        assert delivery.due_at_ms is None, name
    else:
        waited_s = ((delivery.due_at_ms or 0) - started_ms - attempt.duration_ms) / 1000
        assert case.wait_s[0] <= waited_s <= case.wait_s[1], (name, waited_s)


async def test_tries_follow_the_schedule_with_jitter_only_added_until_it_ends(database_url: str) -> None:
    schedule = (5.0, 30.0, 120.0, 600.0)
    async with (
        hostile_server({"500": answer(500)}) as url,
        open_deliveries(database_url, relay_delivery_schedule_s=schedule) as simulation,
    ):
        endpoint = await simulation.add_endpoint(f"{url}/500")
        await simulation.append()
        await simulation.run()
        while due_ms := await simulation.next_due_ms():
            simulation.clock.now_ms = due_ms - 1
            assert await simulation.run() == 0
            simulation.clock.now_ms = due_ms
            assert await simulation.run() == 1
        tries = await simulation.attempts_at(endpoint)
        assert len(tries) == len(schedule) + 1
        for wait_s, before, after in zip(schedule, tries, tries[1:], strict=False):
            waited_s = (after.at_ms - before.at_ms - before.duration_ms) / 1000
            assert wait_s <= waited_s <= wait_s * JITTER
        assert (await simulation.delivery_to(endpoint)).status == "exhausted"


async def test_a_redirect_is_a_failure_and_its_target_never_hears_of_it(database_url: str) -> None:
    receiver = Receiver(answer=lambda _request: Response(status_code=307, headers={"Location": "/elsewhere"}))
    async with serving(receiver.app()) as server, open_deliveries(database_url) as simulation:
        await simulation.add_endpoint(f"{server.url}/here")
        await simulation.append()
        await simulation.run()
        assert [request.path for request in receiver.requests] == ["/here"]


async def test_every_try_has_the_same_id_and_bytes_and_a_signature_of_its_own_moment(database_url: str) -> None:
    receiver = Receiver(answer=lambda _request: Response(status_code=500))
    async with serving(receiver.app()) as server, open_deliveries(database_url) as simulation:
        endpoint = await simulation.add_endpoint(f"{server.url}/events")
        await simulation.append()
        await simulation.run()
        simulation.clock.forward(3)
        await simulation.run()
        first, second = receiver.requests
        verifier = Verifier(simulation.secrets[endpoint.id])
        for request in (first, second):
            verifier.verify(request.body, request.headers)
        assert first.headers["webhook-id"] == second.headers["webhook-id"]
        assert first.body == second.body
        assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) == 3
        assert first.headers["accept-encoding"] == "identity"


async def test_cookies_of_one_receiver_reach_nobody(database_url: str) -> None:
    receiver = Receiver(answer=lambda _request: Response(headers={"Set-Cookie": "session=stolen; Path=/"}))
    async with serving(receiver.app()) as server, open_deliveries(database_url) as simulation:
        await simulation.add_endpoint(f"{server.url}/one")
        for _ in range(3):
            await simulation.append()
            await simulation.run()
        assert len(receiver.requests) == 3
        assert not [request for request in receiver.requests if "cookie" in request.headers]


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
async def test_proxies_of_the_environment_are_not_used(
    database_url: str, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    proxy, receiver = Receiver(), Receiver()
    async with serving(proxy.app()) as proxy_server, serving(receiver.app()) as server:
        monkeypatch.setenv(variable, proxy_server.url)
        async with open_deliveries(database_url) as simulation:
            await simulation.add_endpoint(f"{server.url}/events")
            await simulation.append()
            await simulation.run()
    assert (len(proxy.requests), len(receiver.requests)) == (0, 1)


async def test_a_410_is_undone_by_one_call_and_nothing_is_lost(database_url: str) -> None:
    receiver = Receiver(answer=lambda _request: Response(status_code=410))
    async with serving(receiver.app()) as server, open_deliveries(database_url) as simulation:
        gone = await simulation.add_endpoint(f"{server.url}/gone", event_types=["transcription.completed"])
        other = await simulation.add_endpoint(f"{server.url}/other", event_types=["endpoint.disabled"])
        sent = await simulation.append(1)
        await simulation.run()
        assert [request.path for request in receiver.requests] == ["/gone", "/other"]
        assert (await simulation.endpoint(gone.id)).disabled_reason == "the receiver answered 410 Gone"
        assert not (await simulation.endpoint(other.id)).enabled  # it said 410 too

        sent += await simulation.append(2)
        simulation.clock.forward(10 * DAY_S)
        assert await simulation.run() == 0
        receiver.answer = lambda _request: Response()
        await simulation.enable(gone)
        receiver.requests.clear()
        await simulation.run()
        received = [request.headers["webhook-id"] for request in receiver.at("/gone")]
        assert sorted(received) == sorted(event.id for event in sent)


async def test_nothing_an_attempt_stores_is_longer_than_its_first_kilobyte(database_url: str) -> None:
    async with (
        hostile_server({"long": answer(500, body=b"y" * 60_000)}) as url,
        open_deliveries(database_url) as simulation,
    ):
        endpoint = await simulation.add_endpoint(f"{url}/long")
        await simulation.append()
        await simulation.run()
        attempts: list[Attempt] = await simulation.attempts_at(endpoint)
        assert attempts[0].answer == b"y" * 1024
