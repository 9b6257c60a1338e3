"""The parts that a running relay is made of, put together once and handed to whoever needs them."""

import asyncio
import os
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from service import telemetry
from service.broadcast import broadcasting
from service.clock import Clock, steady_clock
from service.db import Database, open_database
from service.downstream.guard import Guard
from service.downstream.send import Sender
from service.governor import Governor
from service.ids import new_uuid
from service.leases import Leases
from service.listing import Listing
from service.settings import Settings
from service.soniox import Soniox
from service.store.quotas import Quotas
from service.traces import Traces, open_traces
from service.vault import Vault
from service.wakeups import Wakeups


@dataclass(frozen=True)
class Relay:
    """One process's share of the service."""

    settings: Settings
    db: Database
    clock: Clock
    vault: Vault
    wakeups: Wakeups
    governor: Governor
    soniox: Soniox
    sender: Sender
    name: str  # who holds the leases of this process
    leases: Leases  # what this process may still believe to hold
    listing: Listing  # Soniox's own list, shared by those who look for something at the same time
    traces: Traces
    chance: random.Random = field(default_factory=random.Random)


@asynccontextmanager
async def open_relay(settings: Settings) -> AsyncIterator[Relay]:
    """Open the database and the clients; close them when the block ends."""
    wakeups = Wakeups()
    async with (
        open_database(
            settings.database_url,
            wakeups,
            connections=settings.relay_database_connections,
            pooled=settings.is_pooled,
        ) as db,
        broadcasting(settings.direct_url, wakeups),
    ):
        clock = steady_clock(await db.now_ms())
        quotas = Quotas(settings.relay_max_pending, settings.relay_max_transcriptions, settings.relay_max_files)
        governor = Governor(db, clock, settings.relay_max_requests_per_minute, quotas)
        api_key = settings.soniox_api_key.get_secret_value()
        soniox = Soniox(
            settings.soniox_url, api_key, governor.permit, governor.hear, telemetry.observe_soniox_call
        )
        sender = Sender(Guard(settings.relay_allowed_destinations), settings.relay_delivery_timeout_s)
        name = f"{socket.gethostname()}:{os.getpid()}:{new_uuid(clock())[-6:]}"
        traces = open_traces(settings.otel_exporter_otlp_endpoint, settings.otel_service_name)
        try:
            yield Relay(
                settings=settings,
                db=db,
                clock=clock,
                vault=Vault(settings.master_secrets),
                wakeups=wakeups,
                governor=governor,
                soniox=soniox,
                leases=Leases(clock),
                listing=Listing(soniox, clock),
                sender=sender,
                name=name,
                traces=traces,
            )
        finally:
            await soniox.close()
            await sender.close()
            await asyncio.to_thread(traces.close)
