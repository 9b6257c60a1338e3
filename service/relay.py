"""The components of one relay process, and the leases it holds."""

import asyncio
import os
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from service import telemetry
from service.clock import Clock, steady_clock
from service.crypto import SecretBox
from service.db.database import Database, open_database
from service.db.notify import Notifier, listen
from service.downstream.client import DeliveryClient
from service.downstream.ssrf import AddressGuard
from service.governor import Governor
from service.ids import new_uuid
from service.settings import Settings
from service.soniox.client import Soniox
from service.soniox.listing import Listing
from service.store.quotas import Quotas
from service.tracing import Traces, open_traces

SENDING_MS = 1_000  # a request may still wait for a connection after the lease is checked


class Leases:
    """When the leases of this process end, by row id."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until_ms: dict[str, int] = {}

    def hold(self, row_id: str, until_ms: int) -> None:
        """Add the lease of a claimed row."""
        self._until_ms[row_id] = until_ms

    def renew(self, row_id: str, until_ms: int) -> None:
        """Extend a lease after the database renewed it. Does nothing if the step has ended."""
        if row_id in self._until_ms:
            self._until_ms[row_id] = until_ms

    def drop(self, row_id: str) -> None:
        """Remove the lease of a step that has ended."""
        self._until_ms.pop(row_id, None)

    def holds(self, row_id: str) -> bool:
        """Return whether the lease is still valid, so that no other process can have claimed the row."""
        return self._clock() + SENDING_MS < self._until_ms.get(row_id, 0)


@dataclass(frozen=True)
class Relay:
    """The components of one process."""

    settings: Settings
    db: Database
    clock: Clock
    secret_box: SecretBox
    notifier: Notifier
    governor: Governor
    soniox: Soniox
    delivery_client: DeliveryClient
    process_id: str  # the holder of its leases in the database
    leases: Leases
    listing: Listing
    tracing: Traces
    rng: random.Random = field(default_factory=random.Random)


@asynccontextmanager
async def open_relay(settings: Settings) -> AsyncIterator[Relay]:
    """Open the database and the clients, and close them when the block ends."""
    notifier = Notifier()
    async with (
        open_database(
            settings.database_url,
            notifier,
            connections=settings.relay_database_connections,
            pooled=settings.is_pooled,
        ) as db,
        listen(settings.direct_url, notifier),
    ):
        clock = steady_clock(await db.now_ms())
        quotas = Quotas(settings.relay_max_pending, settings.relay_max_transcriptions, settings.relay_max_files)
        governor = Governor(db, clock, settings.relay_max_requests_per_minute, quotas)
        api_key = settings.soniox_api_key.get_secret_value()
        soniox = Soniox(
            settings.soniox_url, api_key, governor.acquire, governor.record_result, telemetry.observe_soniox_call
        )
        delivery_client = DeliveryClient(
            AddressGuard(settings.relay_allowed_destinations), settings.relay_delivery_timeout_s
        )
        process_id = f"{socket.gethostname()}:{os.getpid()}:{new_uuid(clock())[-6:]}"
        tracing = open_traces(settings.otel_exporter_otlp_endpoint, settings.otel_service_name)
        try:
            yield Relay(
                settings=settings,
                db=db,
                clock=clock,
                secret_box=SecretBox(settings.master_secrets),
                notifier=notifier,
                governor=governor,
                soniox=soniox,
                leases=Leases(clock),
                listing=Listing(soniox, clock),
                delivery_client=delivery_client,
                process_id=process_id,
                tracing=tracing,
            )
        finally:
            await soniox.close()
            await delivery_client.close()
            await asyncio.to_thread(tracing.close)
