"""The database: one way to write, one way to read, the only commit in the service.

A step or a query is a plain function of a SQLModel Session. Steps that arrive while a commit is under way share
the next transaction and its fsync, and are answered together after it. If such a batch fails, each of its steps is
run again alone, so that a bad one harms nobody. A step may therefore run twice: it does nothing but SQL, and rows
go in as values (`store.rows.insert_all`), never as objects that a session would remember.
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

MAX_QUEUE = 20_000  # writes waiting; beyond it callers are told to come back
MAX_BATCH = 512  # writes in one transaction

# A transaction that changes nothing succeeds on a full disk. Signs of life change something, and come every 5 s.
FULL_FOR_S = 6.0

DISK_FULL = "disk is full"  # SQLite's words
NO_SPACE = "53100"  # PostgreSQL's SQLSTATE
FULL = "the database's disk is full"  # ours

# PostgreSQL's SQLSTATE classes: no connection, refused for now, a missing or read-only or full database, a lock,
# a conflict with another transaction.
CONFLICT = "40"
TRANSIENT = ("08", "28", "3D", "25006", "53", "55", "57", "58", CONFLICT)


@dataclass(eq=False)
class _Write:
    """What waits for the next transaction: an item for a function that takes many, or a step if there is none."""

    function: Many[Any, Any] | None
    item: Any
    done: asyncio.Future[Any]


class Database:
    """A database and the queue of writes. Made by `open_database`."""

    def __init__(self, engine: SQLite | PostgreSQL, notifier: Notifier) -> None:
        self._engine = engine
        self._notifier = notifier
        self._writes: list[_Write] = []
        self._arrived = asyncio.Event()
        self._committer: asyncio.Task[None] | None = None
        self._closing = False
        self.refused: str | None = None  # why commits fail; None when they succeed again
        self._full_until_s = 0.0

    @property
    def dialect(self) -> Dialect:
        return self._engine.dialect

    @property
    def is_sqlite(self) -> bool:
        return self.dialect.name == "sqlite"

    @property
    def waiting(self) -> int:
        """Writes that no transaction has taken up yet."""
        return len(self._writes)

    async def now_ms(self) -> int:
        """The time all processes agree on: PostgreSQL's, or this machine's with SQLite."""
        if self.is_sqlite:
            return wall_ms()
        now = text("SELECT extract(epoch FROM clock_timestamp()) * 1000")
        return await self.read(lambda session: int(session.scalar(now)))

    async def read(self, query: Callable[[Session], T]) -> T:
        """Run `query` outside of any transaction;
        each statement sees the newest commit. Raises DatabaseDownError.
        """
        if self._closing:
            raise DatabaseDownError("the database is being closed")
        try:
            return await self._engine.read(lambda session: _in_session(session, query))
        except (DBAPIError, PoolTimeout, OSError) as error:
            raise _translate(error) from error

    async def write(self, step: Step[T], wake: Sequence[str] = ()) -> T:
        """Run `step` in a transaction and give back its result once that is on disk; then wake those queues.

        Raises OverloadedError or DatabaseDownError when nothing was kept, and whatever `step` raises.
        """
        result: T = await self._enqueue(None, step, wake)
        return result

    async def write_many(self, function: Many[Item, T], item: Item, wake: Sequence[str] = ()) -> T:
        """Like `write`, for bursts: `function` gets all waiting items at once and gives back a result for each."""
        result: T = await self._enqueue(function, item, wake)
        return result

    def start(self) -> None:
        """Start committing; needs a running event loop."""
        self._committer = asyncio.create_task(self._commit_forever())

    async def close(self) -> None:
        """Commit what is waiting, then let go of all connections."""
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
        except Exception as error:  # noqa: BLE001  # whatever it is, its callers must hear of it
            await self._settle_failure(batch, error, again=again)
        else:
            if time.monotonic() >= self._full_until_s:
                self.refused = None
            for write, result in results:
                if not write.done.done():
                    write.done.set_result(result)

    async def _settle_failure(self, batch: list[_Write], error: Exception, *, again: bool) -> None:
        """Run each write again alone where that may end otherwise; else tell its caller."""
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

    PostgreSQL gets at most so many `connections`; `pooled` tells that a pooler in transaction mode is in between.
    """
    database = Database(open_engine(url, connections, pooled=pooled), notifier)
    database.start()
    try:
        yield database
    finally:
        await database.close()


def _run_batch(connection: Connection, batch: list[_Write]) -> list[tuple[_Write, Any]]:
    """Each step in turn; the items of one function together, when the first of them came."""
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
    """A session for each, which shows rows as they are now, not as they were when it read them before."""
    with Session(connection, execution_options={"populate_existing": True}) as session:
        return run(session, *args, **kwargs)


def _translate(error: Exception) -> Exception:
    """DatabaseDownError for whatever another try may cure; anything else stays what it is."""
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
