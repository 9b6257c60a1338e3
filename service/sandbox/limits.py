"""Soniox's quotas and rate limit, which refuse with 429 `limit_exceeded`, and the cursors of lists."""

import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import Counter, deque
from collections.abc import Iterable
from itertools import islice
from typing import Protocol, TypeVar

from service.sandbox.faults import FaultBoard
from service.sandbox.schemas import ApiError, invalid_cursor, limit_exceeded
from service.sandbox.state import FakeProject, SandboxConfig

RATE_FAMILIES = {
    "files": "file management",
    "transcriptions": "async transcription",
    "usage-logs": "usage logs",
    "models": "model listing",
}


class SandboxQuotas:
    def __init__(self, config: SandboxConfig, soniox: FakeProject, faults: FaultBoard) -> None:
        self._config = config
        self._soniox = soniox
        self._faults = faults
        self.clear()

    def clear(self) -> None:
        self.refusals: Counter[str] = Counter()
        self.busiest_minute = 0
        self._admitted: deque[float] = deque()

    def admit_request(self, path: str) -> None:
        """Count the request in a rolling minute; refused requests do not count. Raises ApiError."""
        now = time.monotonic()
        while self._admitted and self._admitted[0] <= now - self._config.minute:
            self._admitted.popleft()
        most = self._config.requests_per_minute
        if most is not None and len(self._admitted) >= most:
            raise self._refuse("rate", rate_message(path))
        self._admitted.append(now)
        self.busiest_minute = max(self.busiest_minute, len(self._admitted))

    def admit_file(self, size: int = 0) -> None:
        held = len(self._soniox.files) + self._faults.knobs.files_elsewhere
        if held >= self._config.max_files:
            raise self._refuse(
                "files", "Total file count limit exceeded for your organization. Please delete some."
            )
        if self._soniox.total_bytes + size > self._config.max_total_bytes:
            raise self._refuse(
                "bytes", "Total file size limit exceeded for your organization. Please delete some."
            )

    def admit_transcription(self) -> None:
        held = len(self._soniox.transcriptions) + self._faults.knobs.transcriptions_elsewhere
        if held >= self._config.max_transcriptions:
            raise self._refuse(
                "transcriptions",
                "Total transcription count limit exceeded for your organization. Please delete some.",
            )
        if self._soniox.pending >= self._config.max_pending:
            raise self._refuse("pending", "Pending transcription count limit exceeded for your organization.")

    def _refuse(self, kind: str, message: str) -> ApiError:
        self.refusals[kind] += 1
        return limit_exceeded(message)


def rate_message(path: str) -> str:
    family = RATE_FAMILIES.get(path.split("/")[2], "the API")
    return f"Requests per minute limit for {family} exceeded for your organization."


class Orderable(Protocol):
    order: int


Item = TypeVar("Item", bound=Orderable)


def page_of(
    oldest_first: Iterable[Item], limit: int, cursor: str | None, *, newest_first: bool
) -> tuple[list[Item], str | None]:
    items = list(oldest_first)
    if newest_first:
        items.reverse()
    if cursor:
        after = order_of(cursor)
        items = [item for item in items if (item.order < after if newest_first else item.order > after)]
    page = list(islice(items, limit))
    return page, cursor_at(page[-1].order) if len(items) > limit else None


def cursor_at(order: int) -> str:
    return urlsafe_b64encode(f"after:{order}".encode()).decode()


def order_of(cursor: str) -> int:
    try:
        word, _, order = urlsafe_b64decode(cursor.encode()).decode().partition(":")
        if word == "after":
            return int(order)
    except ValueError:
        pass
    raise invalid_cursor()
