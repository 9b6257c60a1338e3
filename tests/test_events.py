"""The event log: to be pulled, to be followed, and with nothing ever appearing behind a reader."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from service.app import create_app
from service.cli.demo.servers import free_port
from service.db.engines import engine_url
from service.event_types import COMPLETED, event_body
from service.ids import new_id
from service.schemas import Open
from service.store import events
from service.store.events import START, EventFilter, Position
from service.tables import Event
from tests.support.relay_app import ADMIN_KEY, RelayApp, open_relay_app, settings_for
from tests.support.servers import serving
from tests.support.sessions import in_session
from tests.support.simulation.deliveries import open_deliveries
from tests.support.waiting import until


class Follower:
    """A client of the stream, as an EventSource is one."""

    def __init__(self, client: httpx.AsyncClient, **parameters: str) -> None:
        self.events: list[dict[str, Any]] = []
        self.last_id: str | None = None
        self.comments = 0
        self._client, self._parameters = client, parameters
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Follower":
        ready = asyncio.Event()
        self._task = asyncio.create_task(self._read(ready))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait([self._task, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        return self

    async def __aexit__(self, *_error: object) -> None:
        assert self._task
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def until(self, number: int, within_s: float = 10) -> list[dict[str, Any]]:
        """The first so many events."""
        await until(lambda: len(self.events) >= number, within_s)
        return self.events

    async def ended(self) -> None:
        """Wait for the server to end the stream."""
        assert self._task
        async with asyncio.timeout(10):
            await self._task

    async def _read(self, ready: asyncio.Event) -> None:
        headers = {"Last-Event-ID": self.last_id} if self.last_id else {}
        stream = self._client.stream("GET", "/v1/events/stream", params=self._parameters, headers=headers)
        async with stream as answer:
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")
            frame: dict[str, str] = {}
            async for line in answer.aiter_lines():
                if line.startswith(":"):
                    self.comments += 1
                elif line:
                    name, _, value = line.partition(": ")
                    frame[name] = value
                else:
                    self._take(frame)
                    frame = {}
                    ready.set()

    def _take(self, frame: dict[str, str]) -> None:
        self.last_id = frame.get("id", self.last_id)
        if "data" in frame:
            event = json.loads(frame["data"])
            assert (event["id"], event["type"]) == (frame["id"], frame["event"])
            self.events.append(event)


async def _finish_one(relay_app: RelayApp) -> str:
    return str((await relay_app.finished((await relay_app.submit())["id"]))["id"])


def _jobs(found: list[dict[str, Any]]) -> list[str]:
    return [event["data"]["id"] for event in found]


async def test_events_are_pulled_in_order_page_by_page(relay_app: RelayApp) -> None:
    made = [await _finish_one(relay_app) for _ in range(5)]
    first = (await relay_app.client.get("/v1/events", params={"limit": 3})).json()
    assert _jobs(first["events"]) == made[:3]
    assert set(first["events"][0]) == {"id", "type", "timestamp", "data"}
    assert first["next_page_cursor"] == first["events"][-1]["id"]
    rest = (await relay_app.client.get("/v1/events", params={"after": first["next_page_cursor"]})).json()
    assert _jobs(rest["events"]) == made[3:]
    assert rest["next_page_cursor"] is None
    nothing = await relay_app.client.get("/v1/events", params={"after": rest["events"][-1]["id"]})
    assert nothing.json() == {"events": [], "next_page_cursor": None}


async def test_types_choose_and_what_makes_no_sense_is_refused(relay_app: RelayApp) -> None:
    done = await _finish_one(relay_app)
    await relay_app.client.delete(f"/v1/transcriptions/{await _finish_one(relay_app)}")
    found = await relay_app.client.get(
        "/v1/events", params={"types": "transcription.deleted,transcription.failed"}
    )
    assert [event["type"] for event in found.json()["events"]] == ["transcription.deleted"]
    found = await relay_app.client.get("/v1/events", params={"types": "transcription.completed"})
    assert _jobs(found.json()["events"]) == [done]
    for bad in ({"types": "nonsense"}, {"after": "nonsense"}, {"after": "dlv_" + "0" * 32}, {"limit": "0"}):
        assert (await relay_app.client.get("/v1/events", params=bad)).status_code == 400, bad


async def test_the_number_of_a_deleted_event_is_never_given_again(relay_app: RelayApp) -> None:
    """A reader that has read the newest event still hears of its deletion."""
    job = await _finish_one(relay_app)
    newest = (await relay_app.client.get("/v1/events")).json()["events"][-1]["id"]
    async with Follower(relay_app.client) as follower:
        await relay_app.client.delete(f"/v1/transcriptions/{job}")
        assert [event["type"] for event in await follower.until(1)] == ["transcription.deleted"]
    after = (await relay_app.client.get("/v1/events", params={"after": newest})).json()["events"]
    assert [event["type"] for event in after] == ["transcription.deleted"]


async def test_the_stream_begins_now_or_where_the_reader_says(relay_app: RelayApp) -> None:
    before = await _finish_one(relay_app)
    async with Follower(relay_app.client) as live, Follower(relay_app.client, after="") as all_of_it:
        now = await _finish_one(relay_app)
        assert _jobs(await live.until(1)) == [now]
        assert _jobs(await all_of_it.until(2)) == [before, now]


async def test_nothing_is_missed_between_two_connections_even_before_the_first_event(relay_app: RelayApp) -> None:
    follower = Follower(relay_app.client)
    made: list[str] = []
    for _ in range(4):
        if follower.last_id:
            made.append(await _finish_one(relay_app))
        async with follower:
            made.append(await _finish_one(relay_app))
            await follower.until(len(made))
    made.append(await _finish_one(relay_app))
    async with follower:
        await follower.until(len(made))
    assert _jobs(follower.events) == made


async def test_the_stream_sends_a_comment_when_nothing_happens_and_ends_when_the_service_stops(
    relay_app: RelayApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastapi.routing._PING_INTERVAL", 0.1)
    monkeypatch.setattr("service.api.events.POLL_EVERY_S", 0.05)
    async with Follower(relay_app.client) as follower:
        await until(lambda: follower.comments >= 3)
        relay_app.server.lifespan.state["draining"].set()
        await follower.ended()
    relay_app.server.lifespan.state["draining"].clear()


@asynccontextmanager
async def _replica(relay_app: RelayApp) -> AsyncIterator[httpx.AsyncClient]:
    """A second web process on the same database."""
    settings = relay_app.relay.settings
    twin = settings_for(settings.database_url, settings.soniox_api_base_url, free_port())
    async with serving(create_app(twin, with_worker=False), twin.port) as server:
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
        async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=30) as client:
            yield client


async def test_a_reader_may_change_to_another_replica_at_any_time(postgres_database: str) -> None:
    async with open_relay_app(postgres_database) as relay_app, _replica(relay_app) as other:
        follower = Follower(relay_app.client)
        made: list[str] = []
        for number in range(6):
            follower._client = other if number % 2 else relay_app.client
            async with follower:
                made.append(await _finish_one(relay_app))
                await follower.until(len(made))
            made.append(await _finish_one(relay_app))
        async with follower:
            assert _jobs(await follower.until(len(made))) == made


def _event(name: str) -> Event:
    body = event_body(COMPLETED, 1, Open.model_validate({"id": name}))
    values: dict[str, Any] = {
        "type": "transcription.completed",
        "owner": "o",
        "transcription_id": name,
        "created_at_ms": 1,
    }
    return Event(id=new_id("evt", 1), body=body, **values)


async def put(connection: AsyncConnection, name: str) -> None:
    """Write an event in the connection's transaction."""
    await in_session(connection, partial(events.insert_event, event=_event(name)))


async def look(connection: AsyncConnection, position: Position, limit: int) -> tuple[list[Event], Position]:
    """What a reader at this position gets."""
    wanted = EventFilter(owner=None)
    return await in_session(connection, partial(events.follow, position=position, wanted=wanted, limit=limit))


async def test_two_transactions_that_commit_in_reverse_order_are_both_read(postgres_database: str) -> None:
    """The later number becomes visible first; a reader must wait for the earlier one rather than pass it."""
    engine = create_async_engine(engine_url(postgres_database))
    read: list[str] = []
    position = START

    async def read_on() -> None:
        nonlocal position
        async with engine.connect() as connection:
            found, position = await look(connection, position, 10)
        read.extend(event.transcription_id or "" for event in found)

    async with engine.connect() as slow, engine.connect() as quick:
        await put(slow, "first")
        await put(quick, "second")
        await quick.commit()
        await read_on()
        await read_on()
        assert read == []
        await slow.commit()
        await read_on()
        assert sorted(read) == ["first", "second"]

        # and the harder case: the older transaction takes the later number
        await put(slow, "third")
        await put(quick, "fourth")
        await put(slow, "fifth")
        await slow.commit()
        await read_on()
        await quick.commit()
        await read_on()
        assert sorted(read[2:]) == ["fifth", "fourth", "third"]
    await engine.dispose()


async def test_readers_beside_many_writers_miss_nothing_and_read_nothing_twice(postgres_database: str) -> None:
    engine = create_async_engine(engine_url(postgres_database), pool_size=12)
    written: list[str] = []
    read: list[str] = []
    done = asyncio.Event()

    async def write(writer: int) -> None:
        for number in range(25):
            async with engine.begin() as connection:
                for part in range(2):
                    name = f"{writer}-{number}-{part}"
                    await put(connection, name)
                    for _ in range(writer % 3):  # their transactions are not equally long
                        await connection.execute(text("SELECT 1"))
                    written.append(name)

    async def follow() -> None:
        position = START
        last_round = False
        while not last_round:
            last_round = done.is_set()
            async with engine.connect() as connection:
                found, position = await look(connection, position, 7)
                while len(found) == 7:
                    read.extend(event.transcription_id or "" for event in found)
                    found, position = await look(connection, position, 7)
            read.extend(event.transcription_id or "" for event in found)
            await asyncio.sleep(0)

    reading = asyncio.create_task(follow())
    await asyncio.gather(*(write(writer) for writer in range(8)))
    done.set()
    await reading
    await engine.dispose()
    assert len(read) == len(set(read)) == len(written)


async def test_events_restored_from_another_cluster_come_first_and_hide_nothing(postgres_database: str) -> None:
    async with open_deliveries(postgres_database) as simulation:
        await simulation.append(2)
        await simulation.execute("UPDATE events SET xact = xact + 1000000")
        await simulation.relay.db.write(events.adopt_restored)
        await simulation.append(1)
        found = await simulation.relay.db.read(
            lambda session: events.after(session, START, EventFilter(owner=None), 10)
        )
        assert [event.seq for event in found] == [1, 2, 3]
