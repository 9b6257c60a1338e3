"""A process of the relay that can die, or stand still, at any call to the database or to Soniox; and its clock.

Dying before a call means that it was never made, dying after it that it took effect and nobody heard. A process
that stands still goes on later, when others have claimed its rows: what SIGSTOP does.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from typing_extensions import override

from service.crypto import SecretBox
from service.db.database import Database
from service.db.notify import Notifier
from service.downstream.client import DeliveryClient
from service.governor import Governor
from service.http_client import HttpResponse
from service.reconcile.scheduler import SchedulerState
from service.relay import Leases, Relay
from service.settings import Settings
from service.soniox.client import Call, Soniox
from service.soniox.listing import Listing
from service.store.quotas import Quotas
from service.tracing import open_traces

T = TypeVar("T")


class Death(BaseException):
    """The end of a process; no `except Exception` sees it."""


@dataclass
class Ticking:
    """A clock that moves when told, and by 1 ms whenever it is read, so that no two rows are equally old."""

    now_ms: int

    def __call__(self) -> int:
        self.now_ms += 1
        return self.now_ms

    async def sleep(self, seconds: float) -> None:
        """Whoever waits makes time pass."""
        self.now_ms += int(seconds * 1000)
        await asyncio.sleep(0)


@dataclass
class Fuse:
    """Goes off once, at inner call number `at`."""

    at: int = 0
    when: Literal["before", "after"] = "before"
    how: Literal["die", "stop"] = "die"
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    may_go_on: asyncio.Event = field(default_factory=asyncio.Event)
    killed: bool = False

    async def burn(self, call: Callable[[], Awaitable[T]], *, may_stop_before: bool = True) -> T:
        """Make one inner call, unless it is the last moment."""
        self.at -= 1
        goes_off = self.at == 0
        if goes_off and self.when == "before" and (may_stop_before or self.how == "die"):
            await self._go_off()
        result = await call()
        if goes_off and self.when == "after":
            await self._go_off()
        return result

    async def _go_off(self) -> None:
        if self.how == "stop":
            self.stopped.set()
            await self.may_go_on.wait()
        if self.how == "die" or self.killed:
            raise Death


class MortalDatabase:
    """The database as one process sees it."""

    def __init__(self, db: Database, fuse: Fuse) -> None:
        self._db = db
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    async def write(self, step: Any, wake: Any = ()) -> Any:
        return await self._fuse.burn(lambda: self._db.write(step, wake))

    async def write_many(self, function: Any, item: Any, wake: Any = ()) -> Any:
        return await self._fuse.burn(lambda: self._db.write_many(function, item, wake))


class MortalSoniox(Soniox):
    """The client of one process. It never stands still between its last look at the lease and a POST: there is
    no remedy for that, since Soniox takes no idempotency key. It may die there.
    """

    fuse: Fuse

    @override
    async def _exchange(self, call: Call, path: str, request: dict[str, Any]) -> HttpResponse:
        exchange = super()._exchange
        can_be_undone = call.method != "POST"
        return await self.fuse.burn(lambda: exchange(call, path, request), may_stop_before=can_be_undone)


@dataclass
class Process:
    """One process: everything that is lost when it dies."""

    name: str
    relay: Relay
    fuse: Fuse
    rhythm: SchedulerState = field(default_factory=SchedulerState)


def new_process(name: str, settings: Settings, db: Database, clock: Ticking, sender: DeliveryClient) -> Process:
    """A process that has just started."""
    fuse = Fuse()
    mortal: Any = MortalDatabase(db, fuse)
    quotas = Quotas(settings.relay_max_pending, settings.relay_max_transcriptions, settings.relay_max_files)
    governor = Governor(mortal, clock, settings.relay_max_requests_per_minute, quotas)
    api_key = settings.soniox_api_key.get_secret_value()
    soniox = MortalSoniox(settings.soniox_url, api_key, governor.acquire, governor.record_result, _nobody_counts)
    soniox.fuse = fuse
    relay = Relay(
        settings=settings,
        db=mortal,
        clock=clock,
        secret_box=SecretBox(settings.master_secrets),
        notifier=Notifier(),
        governor=governor,
        soniox=soniox,
        delivery_client=sender,
        process_id=name,
        leases=Leases(clock),
        listing=Listing(soniox, clock),
        tracing=open_traces("", ""),
    )
    return Process(name, relay, fuse)


def _nobody_counts(_operation: str, _status: int | None, _seconds: float) -> None:
    """Metrics are not looked at."""
