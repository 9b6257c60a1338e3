"""Transcripts packed in a process of its own: the same bytes, and nothing lost whatever becomes of it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import psutil
import pytest

from service import packer as module
from service.packer import LARGEST, MANY, Packer
from service.transcripts.codec import MalformedTranscript, Packed, pack
from tests.support.transcripts import document
from tests.support.waiting import until

BODY = json.dumps(document([{"text": f"word {number} ", "start_ms": number} for number in range(50)])).encode()
MALFORMED = b'{"id": "x", "text": "", "tokens": [1]}'


def helpers() -> list[psutil.Process]:
    """The processes that pack for this one."""
    children = psutil.Process().children()
    return [child for child in children if "service.packer" in " ".join(child.cmdline())]


def count_packed_here(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of what is packed on the spot from now on."""
    lengths: list[int] = []

    async def noted(body: bytes) -> Packed:
        lengths.append(len(body))
        return await pack(body)

    monkeypatch.setattr(module, "pack", noted)
    return lengths


@asynccontextmanager
async def open_packer(processors: int = 2) -> AsyncIterator[Packer]:
    """One that may have its process, or not."""
    packer = Packer(processors)
    try:
        yield packer
    finally:
        await packer.close()


async def until_it_helps(packer: Packer) -> psutil.Process:
    """Give it much to do until its process is ready; that process."""
    async with asyncio.timeout(20):
        while not (packer._helper and packer._helper.is_ready):
            await packer.pack(BODY)
    (helper,) = helpers()
    return helper


async def test_a_few_transcripts_are_packed_on_the_spot() -> None:
    async with open_packer() as packer:
        for _ in range(MANY):
            assert await packer.pack(BODY) == await pack(BODY)
        assert not helpers()


async def test_on_a_single_processor_all_are_packed_on_the_spot() -> None:
    async with open_packer(processors=1) as packer:
        for _ in range(5 * MANY):
            await packer.pack(BODY)
        assert not helpers()


@pytest.mark.parametrize(
    "body",
    [
        BODY,
        json.dumps(document([])).encode(),
        json.dumps(document([{"text": "ä\0", "confidence": 1}, {"odd": {"deep": [None, 2**70]}}])).encode(),
        json.dumps({**document([{"text": "a", "speaker": "1"}]), "more": {"x": 1.5}}).encode(),
    ],
    ids=["speech", "silence", "odd values", "more fields"],
)
async def test_the_process_gives_what_packing_on_the_spot_gives(
    monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    async with open_packer() as packer:
        await until_it_helps(packer)
        packed_here = count_packed_here(monkeypatch)
        packed = await asyncio.gather(*(packer.pack(body) for _ in range(300)))
        assert packed == [await pack(body)] * 300
        assert packed_here == []


async def test_what_is_not_a_transcript_is_refused_alike_and_harms_no_other() -> None:
    async with open_packer() as packer:
        helper = await until_it_helps(packer)
        good, bad, later = await asyncio.gather(
            packer.pack(BODY), packer.pack(MALFORMED), packer.pack(BODY), return_exceptions=True
        )
        assert isinstance(bad, MalformedTranscript)
        assert good == later == await pack(BODY)
        assert helper.is_running()


async def test_a_process_that_is_killed_loses_no_transcript_and_is_not_started_again_at_once() -> None:
    async with open_packer() as packer:
        helper = await until_it_helps(packer)
        helper.suspend()  # so that all of them wait for it
        waiting = [asyncio.create_task(packer.pack(BODY)) for _ in range(50)]
        await until(lambda: packer._helper is not None and len(packer._helper._asked) == 50)
        assert not any(task.done() for task in waiting)
        helper.kill()
        assert await asyncio.gather(*waiting) == [await pack(BODY)] * 50
        for _ in range(5 * MANY):
            await packer.pack(BODY)
        assert not helpers()


async def test_a_process_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_packer() as packer:
        helper = await until_it_helps(packer)
        monkeypatch.setattr(module, "ANSWER_WITHIN_S", 0.5)
        await packer.pack(BODY)  # with the next wait the shorter time is in force
        helper.suspend()
        assert await packer.pack(BODY) == await pack(BODY)
        assert not helpers()


async def test_a_process_that_was_asked_just_before_a_pause_ends_is_not_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits = count_waits(monkeypatch)
    async with open_packer() as packer:
        helper = await until_it_helps(packer)
        monkeypatch.setattr(module, "ANSWER_WITHIN_S", 2.0)
        await packer.pack(BODY)
        since_s = time.monotonic()
        await until(lambda: time.monotonic() > since_s + 0.7)
        helper.suspend()
        waited = len(waits)
        waiting = asyncio.create_task(packer.pack(BODY))
        await until(lambda: len(waits) > waited)  # the pause that began before the question is over
        helper.resume()
        assert await waiting == await pack(BODY)
        assert helper.is_running()


def count_waits(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Grows with each wait for an answer; one ends with it, or when it has lasted too long."""
    waits: list[object] = []
    next_frame = module._next

    async def noted(reader: asyncio.StreamReader) -> bytes:
        waits.append(reader)
        return await next_frame(reader)

    monkeypatch.setattr(module, "_next", noted)
    return waits


async def test_a_process_of_another_release_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_answers", msgspec.msgpack.Decoder(int))
    async with open_packer() as packer:
        await until_it_helps(packer)
        async with asyncio.timeout(10):
            assert await asyncio.gather(*(packer.pack(BODY) for _ in range(9))) == [await pack(BODY)] * 9
        await packer.pack(BODY)
        assert not helpers()


async def test_the_process_is_never_taken_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("service", "msgspec"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    async with open_packer() as packer:
        assert (await until_it_helps(packer)).is_running()


async def test_a_process_that_has_nothing_to_do_is_ended_and_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_packer() as packer:
        first = await until_it_helps(packer)
        with monkeypatch.context() as soon:
            soon.setattr(module, "ANSWER_WITHIN_S", 0.2)
            soon.setattr(module, "NOTHING_FOR_S", 0.1)
            await packer.pack(BODY)  # with the next wait the shorter times are in force
            await asyncio.to_thread(first.wait, 10)
        assert (await until_it_helps(packer)).pid != first.pid


async def test_the_process_ends_with_the_relay_and_by_nothing_that_ends_a_relay_in_order() -> None:
    async with open_packer() as packer:
        helper = await until_it_helps(packer)
        helper.terminate()  # as systemd does with all processes of a service
        assert await asyncio.gather(*(packer.pack(BODY) for _ in range(50))) == [await pack(BODY)] * 50
        assert helper.is_running()
    assert not helper.is_running()


async def test_the_process_knows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SONIOX_API_KEY", "a-key-that-stays-here")
    async with open_packer() as packer:
        helper = await until_it_helps(packer)
        assert set(helper.environ()) <= {"PYTHONPATH", "LC_CTYPE"}
        assert "stays-here" not in " ".join(helper.cmdline())


async def test_a_very_long_transcript_is_packed_slice_by_slice_here(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = [{"text": f"word {number} ", "start_ms": number, "end_ms": number + 1} for number in range(30_000)]
    body = json.dumps(document(tokens)).encode()
    assert len(body) > LARGEST
    async with open_packer() as packer:
        await until_it_helps(packer)
        packed_here = count_packed_here(monkeypatch)
        assert await packer.pack(body) == await pack(body)
        assert packed_here == [len(body)]
