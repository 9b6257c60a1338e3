"""A closed loop of HTTP requests from a process of its own: each connection sends the next when answered."""

import asyncio
import itertools
import multiprocessing
import multiprocessing.connection
import random
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.context import SpawnContext
from typing import Any, NamedTuple

import uvloop
from typing_extensions import override

from bench.neighbour import END_OF_HEAD, content_length

ID_LENGTH = 36
ACCEPTED_IN_S = 0.05  # uvloop accepts one connection at a time, and hardly any while others keep it busy


@dataclass(frozen=True)
class Template:
    """A request, cut where a new UUID goes into each."""

    before: bytes
    after: bytes


@dataclass(frozen=True)
class Load:
    """What came of it; times in milliseconds."""

    rate: float
    p99_ms: float
    refused: int


def request(path: str, headers: dict[str, str], body: str) -> Template:
    """A POST whose body holds `{id}` once."""
    length = len(body) - len("{id}") + ID_LENGTH
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join([*lines, f"Content-Length: {length}", "", ""])
    before, after = (head + body).split("{id}")
    return Template(before.encode(), after.encode())


class Slices(NamedTuple):
    """For how long each of some targets is measured before it is the next one's turn, and how often."""

    rounds: int
    seconds: float


FAST = Slices(25, 0.15)
SLOW = Slices(3, 1.0)  # a request takes up to half a second


class Generator:
    """The process that sends."""

    def __init__(self, context: SpawnContext) -> None:
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_answer_orders, args=(theirs,), daemon=True)
        self._process.start()

    def run(self, port: int, template: Template, connections: int, seconds: float) -> Load:
        """Send for so long over so many connections."""
        self._pipe.send((port, template, connections, seconds))
        load: Load = self._pipe.recv()
        return load

    def in_turn(
        self, targets: dict[str, tuple[int, Template]], connections: int, slices: Slices
    ) -> dict[str, list[Load]]:
        """What came of each target, in each round."""
        found: dict[str, list[Load]] = {name: [] for name in targets}
        for number in range(slices.rounds):
            for name in targets if number % 2 else reversed(targets):
                port, template = targets[name]
                found[name].append(self.run(port, template, connections, slices.seconds))
        assert not sum(load.refused for loads in found.values() for load in loads), (
            "not every request was accepted"
        )
        return found

    def stop(self) -> None:
        self._process.terminate()
        self._process.join()


@contextmanager
def generator() -> Iterator[Generator]:
    """A process that sends, until the block ends."""
    made = Generator(multiprocessing.get_context("spawn"))
    try:
        yield made
    finally:
        made.stop()


def rates(loads: list[Load]) -> list[float]:
    """Requests in a second."""
    return [load.rate for load in loads]


def typical(found: dict[str, list[Load]]) -> str:
    """The median rate of each, to be printed."""
    return ", ".join(f"{name} {statistics.median(rates(loads)):.0f}/s" for name, loads in found.items())


class _Connection(asyncio.Protocol):
    """Sends, waits for the whole answer, and sends again until told to stop."""

    def __init__(self, template: Template, ids: Iterator[bytes], waits: list[float]) -> None:
        self._template, self._ids, self._waits = template, ids, waits
        self._got = b""
        self._sent_at = 0.0
        self.going = True
        self.refused = 0
        loop = asyncio.get_running_loop()
        self.began: asyncio.Future[None] = loop.create_future()  # with the first answer
        self.ended: asyncio.Future[None] = loop.create_future()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    @override
    def data_received(self, data: bytes) -> None:
        self._got += data
        end = self._got.find(END_OF_HEAD)
        if end < 0 or len(self._got) < end + 4 + content_length(self._got[:end]):
            return
        self._waits.append(time.perf_counter() - self._sent_at)
        if not self.began.done():
            self.began.set_result(None)
        self.refused += self._got[9:10] != b"2"
        self._got = b""
        if self.going:
            self.send()
        else:
            self._transport.close()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def send(self) -> None:
        """Send one more."""
        self._sent_at = time.perf_counter()
        self._transport.write(self._template.before + next(self._ids) + self._template.after)


def _new_ids() -> Iterator[bytes]:
    salt = random.getrandbits(48)
    return (f"{number:08x}-0000-4000-8000-{salt:012x}".encode() for number in itertools.count())


async def _run(port: int, template: Template, connections: int, seconds: float) -> Load:
    loop = asyncio.get_running_loop()
    waits: list[float] = []
    ids = _new_ids()
    made = [
        await loop.create_connection(lambda: _Connection(template, ids, waits), "127.0.0.1", port)
        for _ in range(connections)
    ]
    protocols = [protocol for _, protocol in made]
    await asyncio.sleep(ACCEPTED_IN_S)
    for protocol in protocols:
        protocol.send()
    await asyncio.wait([protocol.began for protocol in protocols], timeout=5)
    waits.clear()
    started = time.perf_counter()
    await asyncio.sleep(seconds)
    answered, took = waits[:], time.perf_counter() - started
    for protocol in protocols:
        protocol.going = False
    await asyncio.wait([protocol.ended for protocol in protocols], timeout=5)
    percentiles = statistics.quantiles(answered, n=100)
    refused = sum(protocol.refused for protocol in protocols)
    return Load(len(answered) / took, 1000 * percentiles[98], refused)


def _answer_orders(pipe: "multiprocessing.connection.Connection[Any, Any]") -> None:
    while True:
        pipe.send(uvloop.run(_run(*pipe.recv())))
