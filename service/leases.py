"""What this process may still believe to hold.

A lease is known here with its end, by the clock that does not jump. A process that was stopped and goes on
finds its leases ended before it does anything that cannot be undone.
"""

from service.clock import Clock

SENDING_MS = 1_000  # a request may still wait for a connection after the last look at the lease


class Leases:
    """The ends of the leases of the rows under way, by row id."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until_ms: dict[str, int] = {}

    def hold(self, row_id: str, until_ms: int) -> None:
        """A claim came through."""
        self._until_ms[row_id] = until_ms

    def renew(self, row_id: str, until_ms: int) -> None:
        """The database prolonged it; nothing if the step is over meanwhile."""
        if row_id in self._until_ms:
            self._until_ms[row_id] = until_ms

    def drop(self, row_id: str) -> None:
        """The step is over."""
        self._until_ms.pop(row_id, None)

    def holds(self, row_id: str) -> bool:
        """True while nobody else can have claimed the row."""
        return self._clock() + SENDING_MS < self._until_ms.get(row_id, 0)
