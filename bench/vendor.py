"""Soniox and a receiver in one quick process: every transcription is finished, every notification accepted.

A transcription's id at this Soniox is the job's own id, so that its webhook address can be told from it.
"""

import asyncio
import itertools
import json
from typing import Any

from typing_extensions import override

from bench.neighbour import END_OF_HEAD, content_length

TOKENS = 500
WORDS = ("the ", "recording ", "speaks ", "of ", "many ", "things, ", "one ", "after ", "the ", "other. ")


def transcript() -> bytes:
    """500 tokens, as Soniox writes them, about 70 kB."""
    tokens = [
        {
            "text": WORDS[number % len(WORDS)],
            "start_ms": number * 240,
            "end_ms": number * 240 + 180,
            "confidence": round(0.9 + number % 97 / 1000, 16),
            "speaker": str(1 + number // 100 % 2),
            "language": "en",
            "translation_status": "none",
        }
        for number in range(TOKENS)
    ]
    text = "".join(str(token["text"]) for token in tokens)
    return json.dumps({"id": "0" * 36, "text": text, "tokens": tokens}).encode()


def answer(status: str, body: bytes = b"") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        status.encode(),
        len(body),
        body,
    )


class Vendor(asyncio.Protocol):
    """Answers by method and path."""

    transcript = answer("200 OK", transcript())
    accepted = answer("200 OK")
    numbers = itertools.count()

    def __init__(self) -> None:
        self._waiting = b""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport  # uvloop's is no asyncio.Transport

    @override
    def data_received(self, data: bytes) -> None:
        self._waiting += data
        while (end := self._waiting.find(END_OF_HEAD)) >= 0:
            head = self._waiting[:end]
            size = end + 4 + content_length(head)
            if len(self._waiting) < size:
                return
            self._waiting = self._waiting[size:]
            method, path, _ = head.split(b" ", 2)
            self._transport.write(self._answer(method, path))

    def _answer(self, method: bytes, path: bytes) -> bytes:
        if method == b"GET":
            return self.transcript if path.endswith(b"/transcript") else answer("200 OK", _finished(path[-36:]))
        if method == b"DELETE":
            return b"HTTP/1.1 204 No Content\r\n\r\n"
        if path.endswith(b"/transcriptions"):
            return answer("201 Created", _finished(b"%08x-0000-4000-8000-000000000000" % next(self.numbers)))
        return self.accepted


def _finished(soniox_id: bytes) -> bytes:
    address = b"http://127.0.0.1:8000/webhooks/soniox?job=" + soniox_id
    return (
        b'{"id":"%b","status":"completed","model":"stt-async-v5","filename":"a.mp3","audio_url":null,' % soniox_id
        + (
            b'"file_id":null,"audio_duration_ms":120000,"created_at":"2026-01-01T00:00:00Z","webhook_url":"%b"}'
            % address
        )
    )
