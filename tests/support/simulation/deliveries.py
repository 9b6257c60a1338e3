"""Deliveries by hand: a relay without a worker, a clock that moves when told, and the notify queue run by
calls.
"""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import text
from sqlmodel import Session, SQLModel, select

from service.crypto import new_endpoint_secret
from service.downstream.client import DeliveryClient
from service.downstream.ssrf import AddressGuard
from service.event_types import EVENT_TYPES, event_body
from service.ids import new_id
from service.pipeline.deliver import deliver, recover
from service.relay import Relay, open_relay
from service.schemas import Open
from service.store import claims, deliveries, delivery_queue, endpoints, events
from service.store.claims import Claimant
from service.store.delivery_queue import ClaimedDelivery
from service.store.events import EventDraft
from service.tables import Attempt, Delivery, Endpoint, Event, Recovery
from tests.support.relay_app import settings_for

M = TypeVar("M", bound=SQLModel)

LEASE_MS = 20_000
OWNER = "key-of-the-tests"


class WorkerKilledError(Exception):
    """Stands for a process that is gone."""


@dataclass
class Moment:
    """A clock."""

    now_ms: int

    def __call__(self) -> int:
        return self.now_ms

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        self.now_ms += int(seconds * 1000)


@dataclass
class DeliverySimulation:
    """What a test holds in its hands."""

    relay: Relay
    clock: Moment
    secrets: dict[str, str] = field(default_factory=dict)

    async def add_endpoint(self, url: str, **fields: Any) -> Endpoint:
        """Subscribe a URL."""
        secret = new_endpoint_secret()
        endpoint = Endpoint(
            id=new_id("ep", self.clock()),
            owner=OWNER,
            url=url,
            secret_encrypted=self.relay.secret_box.encrypt(secret),
            created_at_ms=self.clock(),
            **fields,
        )
        await self.relay.db.write(lambda session: endpoints.add(session, endpoint))
        self.secrets[endpoint.id] = secret
        return endpoint

    async def append(self, number: int = 1, **fields: Any) -> list[Event]:
        """Write events, and with them their deliveries."""
        made = [self._event(index, **fields) for index in range(number)]

        def append(session: Session) -> None:
            for event in made:
                events.append(session, EventDraft(event))

        await self.relay.db.write(append)
        return made

    async def claim(self, limit: int = 64) -> list[ClaimedDelivery]:
        """Take what is due."""
        claimant = Claimant("tester", self.clock(), LEASE_MS)
        return await self.relay.db.write(lambda session: delivery_queue.claim(session, claimant, limit))

    async def run(self) -> int:
        """Claim and send until nothing is due; how many tries that were."""
        tries = 0
        while parcels := await self.claim():
            await asyncio.gather(*(deliver(self.relay, parcel) for parcel in parcels))
            tries += len(parcels)
        return tries

    async def run_recovery_step(self) -> int:
        """One batch of each recovery that is due."""
        claimant = Claimant("tester", self.clock(), LEASE_MS)
        rows = await self.relay.db.write(lambda session: claims.claim(session, Recovery, claimant, limit=10))
        for row in rows:
            await recover(self.relay, row)
        return len(rows)

    async def kill_recovery_step(self) -> None:
        """A worker claims what is due and dies, its transaction rolled back at the last moment."""
        claimant = Claimant("killed", self.clock(), LEASE_MS)
        rows = await self.relay.db.write(lambda session: claims.claim(session, Recovery, claimant, limit=10))

        def die(session: Session) -> None:
            for row in rows:
                deliveries.run_recovery_batch(session, row, size=7, now_ms=self.clock(), again_ms=self.clock())
            raise WorkerKilledError

        with contextlib.suppress(WorkerKilledError):
            await self.relay.db.write(die)

    async def notify(self, parcel: ClaimedDelivery) -> None:
        """Send one that was claimed."""
        await deliver(self.relay, parcel)

    async def send_again(self, delivery_id: str) -> None:
        """What the retry of a delivery does."""

        def again(session: Session) -> None:
            delivery = deliveries.get(session, delivery_id, None)
            assert delivery
            deliveries.retry(session, delivery, self.clock())

        await self.relay.db.write(again)

    async def next_due_ms(self) -> int | None:
        """When the next delivery becomes due."""
        return await self.relay.db.read(lambda session: claims.next_due_ms(session, Delivery, self.clock()))

    async def all_of(self, model: type[M]) -> list[M]:
        """Every row of a table."""
        return await self.relay.db.read(lambda session: list(session.exec(select(model))))

    async def append_callback(self, url: str, number: int = 1) -> None:
        """Write events that go to a caller's own URL only."""
        made = [self._event(index, owner="somebody-else") for index in range(number)]

        def append(session: Session) -> None:
            for event in made:
                events.append(session, EventDraft(event, url))

        await self.relay.db.write(append)

    async def all_deliveries(self) -> list[Delivery]:
        """Every delivery."""
        return await self.all_of(Delivery)

    async def execute(self, statement: str) -> None:
        """Run plain SQL."""
        await self.relay.db.write(lambda session: session.execute(text(statement)))

    async def enable(self, endpoint: Endpoint) -> None:
        """What PATCH does."""
        await self.relay.db.write(lambda session: endpoints.enable(session, endpoint.id))

    async def delivery_to(self, endpoint: Endpoint) -> Delivery:
        """The only delivery of an endpoint."""
        (found,) = [row for row in await self.all_of(Delivery) if row.endpoint_id == endpoint.id]
        return found

    async def attempts_at(self, endpoint: Endpoint) -> list[Attempt]:
        """All tries at an endpoint."""
        theirs = {row.id for row in await self.all_of(Delivery) if row.endpoint_id == endpoint.id}
        return [row for row in await self.all_of(Attempt) if row.delivery_id in theirs]

    async def endpoint(self, endpoint_id: str) -> Endpoint:
        """An endpoint as it is now."""
        (found,) = [row for row in await self.all_of(Endpoint) if row.id == endpoint_id]
        return found

    def _event(self, index: int, **fields: Any) -> Event:
        event_type = fields.get("type", "transcription.completed")
        values: dict[str, Any] = {"owner": OWNER, "type": event_type, "created_at_ms": self.clock(), **fields}
        body = event_body(EVENT_TYPES[event_type], self.clock(), Open.model_validate({"id": f"job-{index}"}))
        return Event(**{"id": new_id("evt", self.clock()), "body": body, **values})


@asynccontextmanager
async def open_deliveries(database_url: str, **changes: Any) -> AsyncIterator[DeliverySimulation]:
    """A relay on its database, loopback allowed; `changes` are settings."""
    settings = settings_for(database_url, "http://127.0.0.1:9", 0, **changes)
    async with open_relay(settings) as relay:
        clock = Moment(relay.clock())
        sender = DeliveryClient(
            AddressGuard(settings.relay_allowed_destinations), settings.relay_delivery_timeout_s
        )
        try:
            yield DeliverySimulation(dataclasses.replace(relay, clock=clock, delivery_client=sender), clock)
        finally:
            await sender.close()
