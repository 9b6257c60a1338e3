"""Start the relay without waiting for its imports: forked from a process that has them behind it."""

import asyncio
import multiprocessing
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from tests.chaos import child
from tests.support.waiting import until


class ForkedProcess:
    """A process that the fork server started, with the methods of asyncio's."""

    def __init__(self, process: ForkServerProcess) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, or the negative number of the signal that ended it; None while it runs."""
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()

    def terminate(self) -> None:
        self._process.terminate()

    async def wait(self) -> int:
        """Return the exit code once there is one."""
        await until(lambda: self.returncode is not None, within_s=600)
        assert self.returncode is not None
        return self.returncode


async def fork(
    verb: tuple[str, ...], environment: dict[str, str], folder: Path, log: Path, point: str
) -> ForkedProcess:
    """Start `child.run` with these arguments."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(child.PRELOADED)
    process = context.Process(
        target=child.run,
        args=(verb, environment, folder, log, point),
        daemon=True,  # it ends with the test run
    )
    await asyncio.to_thread(process.start)  # the first one waits for the imports
    return ForkedProcess(process)
