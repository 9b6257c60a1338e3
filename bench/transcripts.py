"""How small and how quick the stored form of transcripts is: `python -m bench.transcripts`."""

import asyncio
import random
import statistics
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec

from service.transcripts.codec import Packed, pack, unpack
from service.transcripts.columns import unpack_tokens
from service.transcripts.exports import json_body
from service.transcripts.filters import TokenFilter

HOUR_MS = 3_600_000
ROUNDS = 3


def tokens(count: int, translated: bool = False) -> list[dict[str, Any]]:
    """Tokens as Soniox sends them with diarization, language id and, if asked, translation."""
    dice = random.Random(7)
    vocabulary = [_word(dice) for _ in range(6_000)]
    made: list[dict[str, Any]] = []
    clock_ms, speaker = 30, "1"
    while len(made) < count:
        passage = [piece for _ in range(dice.randint(5, 25)) for piece in dice.choice(vocabulary)]
        speaker = dice.choice("123") if dice.random() < 0.3 else speaker
        for text in passage:
            made.append(_token(dice, text, clock_ms, speaker, "original" if translated else None))
            clock_ms += 60 * min(68, 1 + int(dice.expovariate(0.33)))
        if translated:
            made += [_translation(_token(dice, text, 0, speaker, "translation")) for text in passage]
    return made[:count]


def _word(dice: random.Random) -> list[str]:
    pieces = [
        "".join(dice.choices("etaoinshrdlucmfwypvbgk", k=dice.randint(1, 5)))
        for _ in range(dice.choice((1, 1, 2, 3)))
    ]
    return [" " + pieces[0], *pieces[1:]]


def _token(dice: random.Random, text: str, start_ms: int, speaker: str, status: str | None) -> dict[str, Any]:
    return {
        "text": text,
        "start_ms": start_ms,
        "end_ms": start_ms + 60,
        "confidence": 1 - dice.random() ** 6 * 0.7,
        "speaker": speaker,
        "language": "en",
        "is_audio_event": None,
        "translation_status": status,
    }


def _translation(token: dict[str, Any]) -> dict[str, Any]:
    return {**token, "start_ms": 0, "end_ms": 0, "language": "es", "source_language": "en"}


def body(made: list[dict[str, Any]]) -> bytes:
    """The response that holds these tokens."""
    text = "".join(token["text"] for token in made)
    return msgspec.json.encode({"id": "0b7f9c3e-6c0e-4f0e-9a53-2f0f8f1f7d11", "text": text, "tokens": made})


def straight(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that only ever yields, without an event loop."""
    try:
        while True:
            coroutine.send(None)
    except StopIteration as finished:
        return finished.value


def seconds(work: Callable[[], Any]) -> float:
    """Shortest time of some rounds."""
    return min(_timed(work) for _ in range(ROUNDS))


def _timed(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


async def store_and_read(document: bytes) -> None:
    """Pack a document and unpack it again."""
    packed = await pack(document)
    await unpack(packed.envelope, [chunk.data for chunk in packed.chunks])


async def store_and_serve(document: bytes) -> None:
    """Pack a document and stream it again as JSON."""
    packed = await pack(document)
    async for _ in json_body(packed.envelope, [chunk.data for chunk in packed.chunks], "relay"):
        pass


def read_window(packed: Packed, from_ms: int, to_ms: int) -> int:
    """Unpack only the chunks of a time window; return how many tokens are in it."""
    window = TokenFilter(from_ms=from_ms, to_ms=to_ms)
    inside = [
        chunk
        for chunk in packed.chunks
        if chunk.start_ms is not None and chunk.start_ms < to_ms
        if chunk.end_ms is not None and chunk.end_ms > from_ms
    ]
    return sum(len(window.apply(unpack_tokens(chunk.data))) for chunk in inside)


async def longest_stall(work: Callable[[], Awaitable[None]]) -> float:
    """Longest time, in milliseconds, another task waits for its turn while the work runs."""
    stalls = [0.0]

    async def watch() -> None:
        while True:
            begun = time.perf_counter()
            await asyncio.sleep(0)
            stalls.append(time.perf_counter() - begun)

    watcher = asyncio.create_task(watch())
    await work()
    watcher.cancel()
    return max(stalls) * 1000


def memory_growth(work: Callable[[], Any]) -> float:
    """Largest growth of Python's memory during the work, in MB."""
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def report(name: str, value: float, target: float, unit: str) -> None:
    """Print a figure beside its target."""
    verdict = "pass" if value <= target else "FAIL"
    print(f"{name:<58}{value:>9.3f} {unit:<12} target <= {target:<7.3g}{verdict}")


def main() -> None:
    """Measure and print."""
    plain, largest = body(tokens(100_000)), body(tokens(150_000, translated=True))
    for name, document in (("diarized", plain), ("translated", largest)):
        packed = asyncio.run(pack(document))
        size = len(packed.envelope) + sum(len(chunk.data) for chunk in packed.chunks)
        report(f"stored size, {name}, {packed.token_count:,} tokens", size / packed.token_count, 15, "bytes/token")

    bare = seconds(lambda: straight(store_and_read(plain)))
    looped = seconds(lambda: asyncio.run(store_and_read(plain)))
    report(f"store and read, bare {bare * 1000:.0f} ms", looped / bare, 1.5, "x")

    packed = asyncio.run(pack(plain))
    middle = packed.summary.duration_ms // 2
    window = statistics.median(_timed(lambda: read_window(packed, middle, middle + 60_000)) for _ in range(20))
    full = seconds(lambda: straight(unpack(packed.envelope, [chunk.data for chunk in packed.chunks])))
    report(f"60 s window against a full read of {full * 1000:.0f} ms", window / full, 1 / 20, "x")

    megabytes = len(largest) / 1e6
    stall = min(asyncio.run(longest_stall(lambda: store_and_serve(largest))) for _ in range(ROUNDS))
    report(f"longest stall, 150,000 tokens in {megabytes:.0f} MB", stall, 20, "ms")
    report(
        "memory to store and serve, 150,000 tokens",
        memory_growth(lambda: asyncio.run(store_and_serve(largest))),
        64,
        "MB",
    )


if __name__ == "__main__":
    main()
