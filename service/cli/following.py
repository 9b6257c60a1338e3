"""The event stream, followed over broken connections. Loaded by the verbs that follow it."""

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from service.cli.client import RelayClient, given
from service.cli.output import asides
from service.cli.problems import Passing, TimedOut

STREAM = "/v1/events/stream"
SILENT_S = 45  # the relay says something every 15
TRY_AGAIN_AFTER_S = 1


@dataclass(frozen=True)
class Message:
    """One block of the stream; without `data` it only says where the reader stands."""

    id: str
    data: bytes


def follow(relay: RelayClient, after: str | None, types: list[str]) -> Iterator[dict[str, Any]]:
    """Each event once, from behind `after` or from now on, for ever.

    Raises Problem when the relay refuses, or cannot be reached to begin with; later it is asked again.
    """
    position, begun = after, False
    timeout = httpx.Timeout(SILENT_S)
    while True:
        params = given(types=",".join(types) or None, after=position)
        headers = {"Last-Event-ID": position} if position else {}
        try:
            with relay.stream(STREAM, params=params, headers=headers, timeout=timeout) as pieces:
                for message in messages(pieces):
                    begun, position = True, message.id or position
                    if message.data:
                        yield json.loads(message.data)
        except (Passing, TimedOut) as problem:
            if not begun:
                raise
            asides().print(f"{problem.message}; trying again", markup=False, soft_wrap=True)
        time.sleep(TRY_AGAIN_AFTER_S)


def messages(pieces: Iterable[bytes]) -> Iterator[Message]:
    """The blocks of a stream of server-sent events; one that was cut off is left out."""
    fields: dict[bytes, bytes] = {}
    for line in _lines(pieces):
        name, _, value = line.partition(b":")
        if line:
            fields[name] = value.removeprefix(b" ")
        elif fields:
            yield Message(fields.get(b"id", b"").decode(), fields.get(b"data", b""))
            fields = {}


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Ended by LF alone: what Unicode takes for the end of a line may stand in the text of an event."""
    rest: list[bytes] = []
    for piece in pieces:
        *ended, last = piece.split(b"\n")
        for line in ended:
            yield b"".join([*rest, line])
            rest = []
        rest.append(last)
