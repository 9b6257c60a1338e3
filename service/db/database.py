"""The database: one way to write, one way to read, and the only commit in the service.

A step or a query is a plain function of a SQLModel Session. Steps that arrive during a commit share the next
transaction and its fsync, and return together after it. If such a batch fails, each step runs again alone, so
that one bad step does not fail the others. A step may therefore run twice: it does nothing but SQL, and inserts
rows as values (`store.statements.insert_all`), never as objects that a session tracks.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Dialect, text
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlmodel import Session

from service.clock import wall_ms
from service.db.engines import PostgreSQL, SQLite, open_engine
from service.db.notify import Notifier
from service.errors import DatabaseDownError, OverloadedError

T = TypeVar("T")
Item = TypeVar("Item")
P = ParamSpec("P")
Step = Callable[[Session], T]
Many = Callable[[Session, list[Item]], Sequence[T]]

MAX_QUEUE = 20_000  # waiting writes; beyond it a write raises OverloadedError
MAX_BATCH = 512  # writes in one transaction

# A transaction that changes nothing succeeds on a full disk. Heartbeats change rows, and come every 5 s.
FULL_FOR_S = 6.0

DISK_FULL = "disk is full"  # SQLite's words
NO_SPACE = "53100"  # PostgreSQL's SQLSTATE
FULL = "the database's disk is full"  # the relay's message

# PostgreSQL's SQLSTATE classes: no connection, temporarily refused, a missing or read-only or full database,
# a lock, a conflict with another transaction.
CONFLICT = "40"
TRANSIENT = ("08", "28", "3D", "25006", "53", "55", "57", "58", CONFLICT)


@dataclass(eq=False)
class _Write:
    """A waiting write: an item for a function that takes many, or a step when `function` is None."""

    function: Many[Any, Any] | None
    item: Any
    done: asyncio.Future[Any]


class Database:
    """A database and its queue of writes. `open_database` creates it."""

    def __init__(self, engine: SQLite | PostgreSQL, notifier: Notifier) -> None:
        self._engine = engine
        self._notifier = notifier
        self._writes: list[_Write] = []
        self._arrived = asyncio.Event()
        self._committer: asyncio.Task[None] | None = None
        self._closing = False
        self.refused: str | None = None  # why commits fail; None while they succeed
        self._full_until_s = 0.0

    @property
    def dialect(self) -> Dialect:
        return self._engine.dialect

    @property
    def is_sqlite(self) -> bool:
        return self.dialect.name == "sqlite"

    @property
    def waiting(self) -> int:
        """Return the number of writes that wait for a transaction."""
        return len(self._writes)

    async def now_ms(self) -> int:
        """Return the time that all processes share: PostgreSQL's clock, or this machine's with SQLite."""
        if self.is_sqlite:
            return wall_ms()
        now = text("SELECT extract(epoch FROM clock_timestamp()) * 1000")
        return await self.read(lambda session: int(session.scalar(now)))

    async def read(self, query: Callable[[Session], T]) -> T:
        """Run `query` outside a transaction; each statement sees the newest commit.

        Raises DatabaseDownError.
        """
        if self._closing:
            raise DatabaseDownError("the database is being closed")
        try:
            return await self._engine.read(lambda session: _in_session(session, query))
        except (DBAPIError, PoolTimeout, OSError) as error:
            raise _translate(error) from error

    async def write(self, step: Step[T], wake: Sequence[str] = ()) -> T:
        """Run `step` in a transaction, notify the queues in `wake` after the commit, and return its result.

        Raises OverloadedError or DatabaseDownError when nothing was committed, and any error of `step`.
        """
        result: T = await self._enqueue(None, step, wake)
        return result

    async def write_many(self, function: Many[Item, T], item: Item, wake: Sequence[str] = ()) -> T:
        """Like `write`, for bursts: `function` gets all waiting items and returns a result for each."""
        result: T = await self._enqueue(function, item, wake)
        return result

    def start(self) -> None:
        """Start the task that commits. Needs a running event loop."""
        self._committer = asyncio.create_task(self._commit_forever())

    async def close(self) -> None:
        """Commit the waiting writes, then close all connections."""
        self._closing = True
        self._arrived.set()
        if self._committer is not None:
            await self._committer
        await self._engine.close()

    async def _enqueue(self, function: Many[Any, Any] | None, item: Any, wake: Sequence[str]) -> Any:
        if self._closing:
            raise DatabaseDownError("the database is being closed")
        if len(self._writes) >= MAX_QUEUE:
            raise OverloadedError("more writes are waiting than the database can take")
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._writes.append(_Write(function, item, done))
        self._arrived.set()
        result = await done
        for queue in wake:
            self._notifier.notify(queue)
        return result

    async def _commit_forever(self) -> None:
        while True:
            await self._arrived.wait()
            batch, self._writes = self._writes[:MAX_BATCH], self._writes[MAX_BATCH:]
            if wanted := [write for write in batch if not write.done.done()]:
                await self._commit(wanted)
            elif self._closing and not self._writes:
                return
            if not self._writes and not self._closing:
                self._arrived.clear()

    async def _commit(self, batch: list[_Write], *, again: bool = True) -> None:
        try:
            results = await self._engine.write(lambda session: _run_batch(session, batch))
        except Exception as error:  # noqa: BLE001  # every error must reach the callers
            await self._settle_failure(batch, error, again=again)
        else:
            if time.monotonic() >= self._full_until_s:
                self.refused = None
            for write, result in results:
                if not write.done.done():
                    write.done.set_result(result)

    async def _settle_failure(self, batch: list[_Write], error: Exception, *, again: bool) -> None:
        """Run each write again alone where that may succeed; else raise the error in its caller."""
        cause = _translate(error)
        if isinstance(cause, DatabaseDownError):
            self.refused = str(cause)
            self._full_until_s = time.monotonic() + FULL_FOR_S if self.refused == FULL else 0.0
        one_of_many = len(batch) > 1 and not isinstance(cause, DatabaseDownError)
        if again and (one_of_many or _sqlstate(error).startswith(CONFLICT)):
            for write in batch:
                await self._commit([write], again=False)
            return
        for write in batch:
            if not write.done.done():
                write.done.set_exception(cause)


@asynccontextmanager
async def open_database(
    url: str, notifier: Notifier, *, connections: int = 10, pooled: bool = False
) -> AsyncIterator[Database]:
    """Open SQLite (`sqlite:///file.db`) or PostgreSQL (`postgresql://...`) and commit until the block ends.

    `connections` is the most that PostgreSQL gets. `pooled` means that a pooler in transaction mode is used.
    """
    database = Database(open_engine(url, connections, pooled=pooled), notifier)
    database.start()
    try:
        yield database
    finally:
        await database.close()


def _run_batch(connection: Connection, batch: list[_Write]) -> list[tuple[_Write, Any]]:
    """Run the steps in order. The items of one function run together, at the place of the first."""
    together: dict[Any, list[_Write]] = {}
    for write in batch:
        together.setdefault(write.function or write, []).append(write)
    results: list[tuple[_Write, Any]] = []
    for writes in together.values():
        first = writes[0]
        if first.function is None:
            results.append((first, _in_session(connection, first.item)))
        else:
            items = [write.item for write in writes]
            results += zip(writes, _in_session(connection, first.function, items), strict=True)
    return results


def _in_session(
    connection: Connection, run: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Run in a new session. A repeated read refreshes rows that the session has loaded before."""
    with Session(connection, execution_options={"populate_existing": True}) as session:
        return run(session, *args, **kwargs)


def _translate(error: Exception) -> Exception:
    """Return DatabaseDownError for errors that a retry may resolve, and any other error unchanged."""
    if isinstance(error, IntegrityError):
        return error
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    outage = isinstance(error, OperationalError | InterfaceError | PoolTimeout | OSError)
    if DISK_FULL in str(getattr(error, "orig", "")) or _sqlstate(error) == NO_SPACE:
        return DatabaseDownError(FULL)
    if lost or outage or _sqlstate(error).startswith(TRANSIENT):
        return DatabaseDownError(f"the database does not answer ({type(error).__name__})")
    return error


def _sqlstate(error: Exception) -> str:
    return getattr(error.orig, "sqlstate", None) or "" if isinstance(error, DBAPIError) else ""
