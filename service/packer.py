"""Packs transcripts: on the spot, or, while many come, in a process of its own beside the event loop.

Packing takes about as long as all else that is done for a transcription, and Python does one thing at a time; the
process takes it to another processor (docs/decisions/packing-apart.md). It is started when much comes and ended
when nothing did for a while. It is sent documents and answers with what is to be stored, in the same order; it
knows no secret. Whatever befalls it, the document is packed here.

    python -m service.packer FD    is that process, at the other end of the socket FD
"""

import asyncio
import contextlib
import contextvars
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque

import msgspec
import structlog

from service.transcripts.codec import Packed, pack

log = structlog.get_logger(__name__)

MANY = 20  # documents in a second; fewer are packed before a process has started
LARGEST = 2**20  # bytes; what is larger is packed slice by slice, which stalls less than taking the answer in
ANSWER_WITHIN_S = 30.0
NOTHING_FOR_S = 60.0  # after which it is ended
NOT_AGAIN_FOR_S = 60.0  # after it ended by itself, or could not be started

_answers = msgspec.msgpack.Decoder(Packed | None)


class Packer:
    """Packs for one relay. Its process is started from the running loop and must be closed."""

    def __init__(self, processors: int | None = None) -> None:
        self._may_help = (processors or _processors()) > 1
        self._helper: _Helper | None = None
        self._not_before_s = 0.0
        self._second = 0
        self._came = 0  # in that second

    async def pack(self, body: bytes) -> Packed:
        """As `codec.pack`, and with the same MalformedTranscript."""
        helper = self._at_hand() if len(body) <= LARGEST else None
        packed = await helper.ask(body) if helper else None
        return packed or await pack(body)

    async def close(self) -> None:
        """End the process, if there is one."""
        if self._helper:
            await self._helper.end()

    def _at_hand(self) -> "_Helper | None":
        """The process once it is ready; while many come it is started, for those that come later."""
        now_s = time.monotonic()
        if int(now_s) != self._second:
            self._second, self._came = int(now_s), 0
        self._came += 1
        if self._helper and self._helper.is_over:
            self._not_before_s = now_s + (NOT_AGAIN_FOR_S if self._helper.failed else 0)
            self._helper = None
        if self._helper is None and self._may_help and self._came > MANY and now_s >= self._not_before_s:
            self._helper = _Helper()
        return self._helper if self._helper and self._helper.is_ready else None


class _Helper:
    """The process, from its start to its end."""

    def __init__(self) -> None:
        self.is_ready = self.is_over = self.failed = False
        self._asked: deque[asyncio.Future[Packed | None]] = deque()
        self._since_s = time.monotonic()  # it was asked after a pause, or answered
        self._out: asyncio.StreamWriter
        no_job = contextvars.Context()  # what it logs is not about the job that found it busy
        self._life = asyncio.create_task(self._live(), context=no_job)

    async def ask(self, body: bytes) -> Packed | None:
        """What it makes of a document; None when it cannot, or is lost meanwhile."""
        answer: asyncio.Future[Packed | None] = asyncio.get_running_loop().create_future()
        if not self._asked:
            self._since_s = time.monotonic()
        self._asked.append(answer)
        self._out.write(_framed(body))
        return await answer

    async def end(self) -> None:
        """Let go of it, whatever it does."""
        self._life.cancel()
        await asyncio.gather(self._life, return_exceptions=True)

    async def _live(self) -> None:
        try:
            await self._start_and_listen()
        except Exception as error:  # noqa: BLE001  # whatever it is, the documents are packed here
            self.failed = True
            log.warning("packer_process_lost", reason=type(error).__name__)
        finally:
            self.is_over = True
            for answer in self._asked:
                if not answer.done():
                    answer.set_result(None)

    async def _start_and_listen(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            process = _start(theirs)
        reader, self._out = await asyncio.open_connection(sock=ours, limit=LARGEST)
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                await _next(reader)  # it is there
            self.is_ready = True
            while await self._hear(reader):
                pass
        finally:
            self.is_ready = False
            self._out.close()
            process.kill()
            await asyncio.to_thread(process.wait)

    async def _hear(self, reader: asyncio.StreamReader) -> bool:
        """Hand on one answer; False when there was nothing to do for long."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                content = await _next(reader)
        except TimeoutError:
            silent_s = time.monotonic() - self._since_s
            if self._asked and silent_s >= ANSWER_WITHIN_S:
                raise
            return bool(self._asked) or silent_s < NOTHING_FOR_S
        packed = _answers.decode(content)
        self._since_s = time.monotonic()
        answer = self._asked.popleft()
        if not answer.done():
            answer.set_result(packed)
        return True


def _processors() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start(channel: socket.socket) -> subprocess.Popen[bytes]:
    """Start it with the way to this package in its environment, and nothing else."""
    return subprocess.Popen(  # noqa: S603  # our own program
        [
            sys.executable,
            "-P",
            "-m",
            "service.packer",
            str(channel.fileno()),
        ],  # -P: not from where we are
        env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        pass_fds=[channel.fileno()],
        stdin=subprocess.DEVNULL,
    )


def _framed(content: bytes) -> bytes:
    return len(content).to_bytes(4) + content


async def _next(reader: asyncio.StreamReader) -> bytes:
    """The content of one frame; IncompleteReadError, an EOFError, when nobody sends any more."""
    return await reader.readexactly(int.from_bytes(await reader.readexactly(4)))


async def _answer_documents(channel: socket.socket) -> None:
    """What the process does until nobody is at the other end."""
    reader, writer = await asyncio.open_connection(sock=channel, limit=LARGEST)
    writer.write(_framed(b""))
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            writer.write(_framed(msgspec.msgpack.encode(await _packed(await _next(reader)))))
            await writer.drain()


async def _packed(body: bytes) -> Packed | None:
    try:
        return await pack(body)
    except Exception:  # noqa: BLE001  # it will be met again where it can be told
        return None


if __name__ == "__main__":
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.SIG_IGN)  # it ends with the relay, which hears of these itself
    asyncio.run(_answer_documents(socket.socket(fileno=int(sys.argv[1]))))
