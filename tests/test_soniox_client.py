"""The client of Soniox: what may be repeated is, what may have taken effect never."""

import asyncio
import dataclasses

import pytest

from service.cli.demo.servers import free_port
from service.errors import SonioxError, SonioxOutcomeUnknownError, SonioxUnreachableError
from service.http_client import RequestLimits
from service.soniox import client
from service.soniox.client import Soniox

CREATED = b'{"id":"0b7f9c3e-6c0e-4f0e-9a53-2f0f8f1f7d11","status":"queued","filler":"%b"}' % (b"x" * 500)


class Late:
    """A server that nobody reaches before the second try."""

    def __init__(self, answer: bytes) -> None:
        self.port = free_port()
        self.posts = 0
        self.heard: list[type[SonioxError] | None] = []
        self._answer = answer
        self._tries = 0
        self._server: asyncio.Server | None = None

    async def permit(self, _share: str) -> None:
        self._tries += 1
        if self._tries == 2:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    def hear(self, error: SonioxError | None) -> None:
        self.heard.append(type(error) if error else None)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.posts += head.startswith(b"POST")
        writer.write(self._answer)
        await writer.drain()
        writer.close()

    async def close(self) -> None:
        if self._server:
            self._server.close()


async def it_is_mine() -> bool:
    return True


async def create_at(late: Late) -> None:
    """Create one there."""
    soniox = Soniox(f"http://127.0.0.1:{late.port}/v1", "key", late.permit, late.hear, lambda *_: None)
    try:
        await soniox.create_transcription({"model": "m"}, it_is_mine)
    finally:
        await soniox.close()
        await late.close()


def answer(body: bytes) -> bytes:
    return b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


async def test_a_create_that_nobody_heard_is_repeated() -> None:
    late = Late(answer(CREATED))
    await create_at(late)
    assert (late.posts, late.heard) == (1, [SonioxUnreachableError, None])


@pytest.mark.parametrize("reply", [answer(CREATED), b"", b"HTTP/1.1 201 Cre", b"?\r\n\r\n"])
async def test_a_create_that_was_heard_is_not_repeated_whatever_failed_before_it(
    reply: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        client, "CREATE", dataclasses.replace(client.CREATE, caps=RequestLimits(deadline_s=5, bytes=100))
    )
    late = Late(reply)
    with pytest.raises(SonioxOutcomeUnknownError):
        await create_at(late)
    assert (late.posts, late.heard) == (1, [SonioxUnreachableError, SonioxOutcomeUnknownError])
