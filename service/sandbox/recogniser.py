"""Recognise speech in a child process, which starts with the first recording and is reused."""

import asyncio
import json
import sys
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import PIPE, Process
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from service.sandbox.schemas import ApiError
from service.sandbox.tokens import ScriptWord

RECOGNISER = Path(__file__).with_name("recogniser_process.py")
MAX_RESULT = 256 * 2**20
REQUIRED_PACKAGES = ("numpy", "pocketsphinx", "soundfile")


@dataclass(frozen=True)
class RecognisedWords:
    words: list[ScriptWord]
    duration_ms: int


def require_recogniser() -> None:
    missing = [name for name in REQUIRED_PACKAGES if find_spec(name) is None]
    if missing:
        raise RuntimeError(f"recognise='pocketsphinx' needs {missing}: install soniox-relay[sandbox]")


class Recogniser:
    def __init__(self) -> None:
        self._process: Process | None = None
        self._one_at_a_time = asyncio.Lock()

    async def hear(self, path: Path) -> RecognisedWords:
        async with self._one_at_a_time:
            try:
                answer = await self._ask(str(path))
            except OSError as error:
                await self.close()
                raise ApiError(500, "internal_error", "The recogniser died") from error
            except BaseException:
                await self.close()  # the next call must not read the rest of this answer
                raise
        if "error" in answer:
            raise ApiError(400, "invalid_audio_file", answer["error"])
        return RecognisedWords([ScriptWord(*word) for word in answer["words"]], answer["duration_ms"])

    async def close(self) -> None:
        process, self._process = self._process, None
        if process and process.returncode is None:
            process.kill()
            await process.communicate()

    async def _ask(self, path: str) -> dict[str, Any]:
        process = self._process = self._process or await self._start()
        asked, answered = cast(StreamWriter, process.stdin), cast(StreamReader, process.stdout)
        asked.write(json.dumps(path).encode() + b"\n")
        await asked.drain()
        line = await answered.readline()
        if not line:
            raise ApiError(500, "internal_error", "The recogniser died")
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def _start(self) -> Process:
        # -P keeps this folder off the import path of the process, where its modules could shadow others.
        return await asyncio.create_subprocess_exec(
            sys.executable, "-P", str(RECOGNISER), stdin=PIPE, stdout=PIPE, limit=MAX_RESULT
        )
