"""What keeps a command from its end: one line for the reader, often with its cure, and the exit code."""

from typing import ClassVar

from service.errors import RelayError

USAGE = 2


class Problem(RelayError):
    """The command failed."""

    code: ClassVar[int] = 1

    def __init__(self, message: str, cure: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.cure = cure


class Misused(Problem):
    """The arguments make no sense."""

    code = USAGE


class Passing(Problem):
    """No answer now; asking again may get one."""


class NotThere(Problem):
    """What was asked for does not exist."""

    code = 3


class TimedOut(Problem):
    """It did not happen in time; it still may."""

    code = 4
