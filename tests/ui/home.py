"""One house for all browser tests, alive in a thread of its own while the tests drive the browser."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from service.migrate import upgrade
from service.sandbox import SandboxConfig
from tests.support.house import House, open_house
from tests.support.postgres import aside

T = TypeVar("T")


@dataclass
class Home:
    """The house, and a way to have it do something from outside its thread."""

    house: House
    loop: asyncio.AbstractEventLoop

    @property
    def url(self) -> str:
        return self.house.server.url

    def do(self, deed: Callable[[House], Awaitable[T]], within_s: float = 30) -> T:
        """Run `deed` in the house's thread and wait for what it gives back."""

        async def run() -> T:
            return await deed(self.house)

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(within_s)


@contextmanager
def open_home(folder: Path, **settings: Any) -> Iterator[Home]:
    """A relay on SQLite with the Soniox double and a receiver; `settings` are the relay's."""
    database_url = f"sqlite:///{folder / 'relay.db'}"
    aside(upgrade, database_url)
    homes: list[Home] = []
    is_open, is_over = threading.Event(), asyncio.Event()

    async def live() -> None:
        sandbox = SandboxConfig(recognise="script", processing_ms=10, requests_per_minute=None)
        async with open_house(database_url, sandbox, **settings) as house:
            homes.append(Home(house, asyncio.get_running_loop()))
            is_open.set()
            await is_over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(live()), daemon=True)
    thread.start()
    assert is_open.wait(30), "the house did not open"
    try:
        yield homes[0]
    finally:
        homes[0].loop.call_soon_threadsafe(is_over.set)
        thread.join(20)
