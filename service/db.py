"""The database: one way to write, one way to read, the only commit in the service.

Writes that arrive while another commit is under way share the next transaction and its fsync, and are answered
together after it. If such a batch fails, each of its writes is run again alone, so that a bad one harms nobody.
A write must therefore do nothing but SQL; on SQLite it runs in another thread. There all writes go through one
connection, so that there is no lock to wait for and no busy error. On PostgreSQL what needs no transaction waits
in lines of its own (`by_itself`; docs/decisions/group-commit.md).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Dialect, text
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service.clock import wall_ms
from service.engines import AwaitingWriter, ThreadWriter, engines
from service.errors import DatabaseDown, Overloaded
from service.wakeups import Wakeups

T = TypeVar("T")
Step = Callable[[AsyncConnection], Awaitable[T]]
Bulk = Callable[[AsyncConnection, list[Any]], Awaitable[Sequence[Any]]]

Write = tuple[Bulk, Any, asyncio.Future[Any]]  # an item of a bulk, and what its caller waits for

TRANSACTIONS, STATEMENTS, CLAIMS = "transactions", "statements", "claims"  # the lines of writes

_by_itself: dict[Bulk, "_Alone"] = {}  # what needs no transaction

LONGEST_QUEUE = 20_000  # writes waiting; beyond it callers are told to come back
LARGEST_BATCH = 512  # writes in one transaction

# A transaction that changes nothing succeeds on a full disk. Signs of life change something, and come every 5 s.
FULL_FOR_S = 6.0

DISK_FULL = "disk is full"  # SQLite's words
NO_SPACE = "53100"  # PostgreSQL's SQLSTATE
FULL = "the database's disk is full"  # ours

# PostgreSQL's SQLSTATE classes: no connection, refused for now, a missing or read-only or full database, a lock,
# a conflict with another transaction.
CONFLICT = "40"
PASSING = ("08", "28", "3D", "25006", "53", "55", "57", "58", CONFLICT)


class _Line:
    """Writes that are committed one after the other; `parts` says which of those that wait are so together."""

    def __init__(self, parts: Callable[[list[Write]], list[list[Write]]]) -> None:
        self.parts = parts
        self.writes: list[Write] = []
        self.arrived = asyncio.Event()


class _Alone(NamedTuple):
    line: str
    on_sqlite: bool


def by_itself(line: str, *, on_sqlite: bool = False) -> Callable[[Bulk], Bulk]:
    """Mark what needs no transaction: on PostgreSQL it waits in this line, and for no BEGIN and COMMIT.

    Each of its statements is committed by itself. So it is `on_sqlite`, for what is one statement there too, when
    nothing else came meanwhile.
    """

    def mark(bulk: Bulk) -> Bulk:
        _by_itself[bulk] = _Alone(line, on_sqlite)
        return bulk

    return mark


class Database:
    """Engines and the queue of writes. Made by `open_database`."""

    def __init__(self, writer: AwaitingWriter | ThreadWriter, reader: AsyncEngine, wakeups: Wakeups) -> None:
        self.engine = writer.engine
        self._writer = writer
        self._reader = reader
        self._wakeups = wakeups
        only = _Line(_all)
        self._lines = {TRANSACTIONS: only, STATEMENTS: only, CLAIMS: only}
        if writer.has_lines:
            self._lines |= {STATEMENTS: _Line(_kinds), CLAIMS: _Line(_each)}
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False
        self.refused: str | None = None  # why commits fail; None when they succeed again
        self._full_until_s = 0.0

    @property
    def dialect(self) -> Dialect:
        return self.engine.dialect

    @property
    def is_sqlite(self) -> bool:
        return self.dialect.name == "sqlite"

    @property
    def waiting(self) -> int:
        """Writes that no transaction has taken up yet."""
        return sum(len(line.writes) for line in set(self._lines.values()))

    async def now_ms(self) -> int:
        """The time all processes agree on: PostgreSQL's, or this machine's with SQLite."""
        if self.is_sqlite:
            return wall_ms()
        async with self.read() as connection:
            return int(
                (
                    await connection.execute(text("SELECT extract(epoch FROM clock_timestamp()) * 1000"))
                ).scalar_one()
            )

    def read(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection for reading; each statement sees the newest commit."""
        return _translated(self._reader.connect())

    async def write(self, step: Step[T], wake: Sequence[str] = ()) -> T:
        """Run `step` in a transaction and give back its result once that is on disk; then wake those lanes.

        Raises Overloaded or DatabaseDown when nothing was kept, and whatever `step` raises.
        """
        result: T = await self.write_one_of(_run_each, step, wake)
        return result

    async def write_one_of(
        self, bulk: Bulk, item: Any, wake: Sequence[str] = (), later: Sequence[str] = ()
    ) -> Any:
        """Like `write`, for many alike: `bulk` gets all waiting items at once and gives back a result for each.

        The lanes `later` may wait until the others went first.
        """
        if self._closing:
            raise DatabaseDown("the database is being closed")
        alone = _by_itself.get(bulk)
        line = self._lines[alone.line if alone else TRANSACTIONS]
        if len(line.writes) >= LONGEST_QUEUE:
            raise Overloaded("more writes are waiting than the database can take")
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        line.writes.append((bulk, item, done))
        line.arrived.set()
        result = await done
        for lane in wake:
            self._wakeups.ring(lane)
        for lane in later:
            self._wakeups.ring_later(lane)
        return result

    def start(self) -> None:
        """Start committing; needs a running event loop."""
        self._tasks = [asyncio.create_task(self._commit_forever(line)) for line in set(self._lines.values())]

    async def close(self) -> None:
        """Commit what is waiting, then let go of all connections."""
        self._closing = True
        for line in self._lines.values():
            line.arrived.set()
        await asyncio.gather(*self._tasks)
        await self._writer.close()
        await self._reader.dispose()

    async def _commit_forever(self, line: _Line) -> None:
        while True:
            await line.arrived.wait()
            batch, line.writes = line.writes[:LARGEST_BATCH], line.writes[LARGEST_BATCH:]
            if wanted := [write for write in batch if not write[2].done()]:
                for together in line.parts(wanted):
                    await self._commit(together)
            elif self._closing and not line.writes:
                return
            if not line.writes and not self._closing:
                line.arrived.clear()

    async def _commit(self, batch: list[Write], *, again: bool = True) -> None:
        try:
            results = await self._transact(batch)
        except Exception as error:  # noqa: BLE001  # whatever it is, its callers must hear of it
            await self._settle_failure(batch, error, again=again)
        else:
            if time.monotonic() >= self._full_until_s:
                self.refused = None
            for (_, _, done), result in results:
                if not done.done():
                    done.set_result(result)

    async def _transact(self, batch: list[Write]) -> list[tuple[Write, Any]]:
        kinds = _kinds(batch)

        async def work(connection: AsyncConnection) -> list[tuple[Write, Any]]:
            results: list[tuple[Write, Any]] = []
            for kind in kinds:
                bulk, *_ = kind[0]
                results += zip(kind, await bulk(connection, [item for _, item, _ in kind]), strict=True)
            return results

        return await self._writer.transact(work, by_itself=len(kinds) == 1 and self._goes_alone(kinds[0]))

    def _goes_alone(self, kind: list[Write]) -> bool:
        bulk, *_ = kind[0]
        alone = _by_itself.get(bulk)
        return alone is not None and (alone.on_sqlite or not self.is_sqlite)

    async def _settle_failure(self, batch: list[Write], error: Exception, *, again: bool) -> None:
        """Run each write again alone where that may end otherwise; else tell its caller."""
        cause = _translate(error)
        if isinstance(cause, DatabaseDown):
            self.refused = str(cause)
            self._full_until_s = time.monotonic() + FULL_FOR_S if self.refused == FULL else 0.0
        one_of_many = len(batch) > 1 and not isinstance(cause, DatabaseDown)
        if again and (one_of_many or _sqlstate(error).startswith(CONFLICT)):
            for write in batch:
                await self._commit([write], again=False)
            return
        for _, _, done in batch:
            if not done.done():
                done.set_exception(cause)


@asynccontextmanager
async def open_database(
    url: str, wakeups: Wakeups, *, connections: int = 10, pooled: bool = False
) -> AsyncIterator[Database]:
    """Open SQLite (`sqlite:///file.db`) or PostgreSQL (`postgresql://...`) and commit until the block ends.

    PostgreSQL gets at most so many `connections`; `pooled` tells that a pooler in transaction mode is in between.
    """
    database = Database(*engines(url, connections, pooled=pooled), wakeups)
    database.start()
    try:
        yield database
    finally:
        await database.close()


def _all(batch: list[Write]) -> list[list[Write]]:
    return [batch]


def _each(batch: list[Write]) -> list[list[Write]]:
    return [[write] for write in batch]


def _kinds(batch: list[Write]) -> list[list[Write]]:
    """The writes that are done alike together, each kind when its first one came."""
    kinds: dict[Bulk, list[Write]] = {}
    for write in batch:
        kinds.setdefault(write[0], []).append(write)
    return list(kinds.values())


async def _run_each(connection: AsyncConnection, steps: list[Step[Any]]) -> list[Any]:
    return [await step(connection) for step in steps]


@asynccontextmanager
async def _translated(
    opening: AbstractAsyncContextManager[AsyncConnection],
) -> AsyncIterator[AsyncConnection]:
    try:
        async with opening as connection:
            yield connection
    except (DBAPIError, PoolTimeout, OSError) as error:
        raise _translate(error) from error


def _translate(error: Exception) -> Exception:
    """DatabaseDown for whatever another try may cure; anything else stays what it is."""
    if isinstance(error, IntegrityError):
        return error
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    outage = isinstance(error, OperationalError | InterfaceError | PoolTimeout | OSError)
    if DISK_FULL in str(getattr(error, "orig", "")) or _sqlstate(error) == NO_SPACE:
        return DatabaseDown(FULL)
    if lost or outage or _sqlstate(error).startswith(PASSING):
        return DatabaseDown(f"the database does not answer ({type(error).__name__})")
    return error


def _sqlstate(error: Exception) -> str:
    return getattr(error.orig, "sqlstate", None) or "" if isinstance(error, DBAPIError) else ""
