"""Connections to SQLite and PostgreSQL, and how a transaction runs on each.

A transaction runs as a whole away from the event loop's own stack, since each way there and back costs more than
most statements do (measured: docs/decisions/group-commit.md): on PostgreSQL in a greenlet, which gives way to the
loop while the server works; on SQLite, where only the commit waits for the disk, in the writer's thread.

All hide the parameters of statements: an error must not carry transcripts into a log.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, CursorResult, Dialect, Engine, Executable, create_engine, event, make_url
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.util import greenlet_spawn

T = TypeVar("T")
Work = Callable[[AsyncConnection], Awaitable[T]]

READERS = 4  # connections to SQLite for reading
LINES = 3  # PostgreSQL: lines of writes, each of which keeps its connection
KEPT_OPEN = 6  # PostgreSQL: connections that are kept when nothing is to be done, those of the lines among them
KEEP_ALIVE_AFTER_S = 60  # PostgreSQL: connections that nobody used for so long
CACHE_KIB = 16_000  # SQLite's page cache, of the writer and of all readers together
LONGEST_LOCK_S = 2  # SQLite: how long another program may hold the file before writes are refused

# SQLite: how soon the event loop lets the writer's thread go on, which has to ask several times for a write. With
# the usual 5 ms it mostly waited until the loop had nothing left to do, and the loop then waited for it.
GIVE_WAY_AFTER_S = 0.0005


class AwaitingWriter:
    """Transactions on PostgreSQL."""

    has_lines = True  # what needs no transaction need not wait for one

    def __init__(self, engine: AsyncEngine) -> None:
        self._pool = engine
        self.engine = engine.sync_engine
        self._transactions = _Connections(self.engine)
        self._statements = _Connections(self.engine.execution_options(isolation_level="AUTOCOMMIT"))

    async def transact(self, work: Work[T], *, by_itself: bool) -> T:
        """Run `work` in a transaction of its own and commit, or commit each statement `by_itself`."""
        return await greenlet_spawn((self._statements if by_itself else self._transactions).run, work)

    async def close(self) -> None:
        for connections in (self._transactions, self._statements):
            await greenlet_spawn(connections.close)
        await self._pool.dispose()


class ThreadWriter:
    """Transactions on SQLite, one after the other on one connection, each in one trip to the thread."""

    has_lines = False

    def __init__(self, url: str) -> None:
        self.engine = create_engine(
            make_url(url).set(drivername="sqlite"),
            pool_size=1,
            max_overflow=0,
            connect_args={"isolation_level": None, "timeout": LONGEST_LOCK_S, "check_same_thread": False},
            hide_parameters=True,
        )
        _set_up(self.engine, 1)
        self._connections = _Connections(self.engine)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite-writer")
        sys.setswitchinterval(GIVE_WAY_AFTER_S)

    async def transact(self, work: Work[T], *, by_itself: bool) -> T:
        """Run `work` in a transaction of its own and commit, or commit each statement `by_itself`."""
        begin = "" if by_itself else "BEGIN IMMEDIATE"
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._connections.run, work, begin)

    async def close(self) -> None:
        self._thread.shutdown()
        self._connections.close()
        self.engine.dispose()


class _Connections:
    """Connections kept for one kind of write: to take one from the pool and give it back costs a statement.

    There are as many as writes of the kind go on at once.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._free: list[Connection] = []

    def run(self, work: Work[T], begin: str = "") -> T:
        """Run `work`, which must await nothing but the connection, in a transaction if the engine has them.

        On SQLite it has one if it is told how to `begin`.
        """
        connection = self._take()
        try:
            with connection.begin():
                if begin:
                    connection.exec_driver_sql(begin)
                result = _finish(work(cast("AsyncConnection", _Immediate(connection))))
        except BaseException:
            connection.close()
            raise
        self._free.append(connection)
        return result

    def close(self) -> None:
        """Give all back to the pool."""
        while self._free:
            self._free.pop().close()

    def _take(self) -> Connection:
        while self._free:
            connection = self._free.pop()
            if not _is_closed(connection.connection.driver_connection):
                return connection
            connection.invalidate()
            connection.close()
        return self._engine.connect()


class _Immediate:
    """What a write may use of an AsyncConnection, answered on the spot."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.dialect: Dialect = connection.dialect

    async def execute(self, statement: Executable, parameters: Any = None) -> CursorResult[Any]:
        return self._connection.execute(statement, parameters)


def _finish(work: Awaitable[T]) -> T:
    """The result of something that never has to wait."""
    try:
        next(work.__await__())
    except StopIteration as end:
        return cast("T", end.value)
    raise RuntimeError("a write awaited something other than the database")


# A pooler in transaction mode gives each transaction another connection, which does not know what was prepared on
# the last one: statements are prepared without a name, just before they run.
WITHOUT_NAMES: dict[str, Any] = {
    "statement_cache_size": 0,
    "prepared_statement_cache_size": 0,
    "prepared_statement_name_func": lambda: "",
}


def engines(url: str, connections: int, *, pooled: bool) -> tuple[AwaitingWriter | ThreadWriter, AsyncEngine]:
    """The writer and the readers; PostgreSQL gets at most so many connections for both."""
    if url.startswith("sqlite"):
        return ThreadWriter(url), sqlite_engine(url, READERS)
    resting = min(connections, KEPT_OPEN) - LINES
    engine = create_async_engine(
        engine_url(url),
        pool_size=resting,
        max_overflow=connections - resting,
        pool_use_lifo=not pooled,  # the connection that was used last has its statements prepared and planned
        connect_args=WITHOUT_NAMES if pooled else {},
        hide_parameters=True,
    )
    _replace_closed(engine.sync_engine)
    if not pooled:
        _keep_alive(engine.sync_engine)
    return AwaitingWriter(engine), engine.execution_options(isolation_level="AUTOCOMMIT")


def _replace_closed(engine: Engine) -> None:
    """Have the pool make a new connection instead of one that the server, or something on the way, has closed."""

    @event.listens_for(engine, "checkout")
    def _check(_connection: Any, record: Any, _proxy: Any) -> None:
        if _is_closed(record.driver_connection):
            raise DisconnectionError


def _is_closed(connection: Any) -> bool:
    """Whether the server, or something on the way, has closed it; SQLite's stay open."""
    return hasattr(connection, "is_closed") and connection.is_closed()


def _keep_alive(engine: Engine) -> None:
    """Have the server sign to connections that are not used, so that nothing on the way forgets them."""

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(f"SET tcp_keepalives_idle = {KEEP_ALIVE_AFTER_S}")
        cursor.close()
        connection.commit()


def engine_url(url: str) -> str:
    """The URL with the driver the relay uses; libpq's `sslmode` is what that driver calls `ssl`."""
    given = make_url(url)
    if url.startswith("sqlite"):
        return given.set(drivername="sqlite+aiosqlite").render_as_string(hide_password=False)
    query = {"ssl" if name == "sslmode" else name: value for name, value in given.query.items()}
    return given.set(drivername="postgresql+asyncpg", query=query).render_as_string(hide_password=False)


def sqlite_engine(url: str, size: int) -> AsyncEngine:
    """Awaited connections to a SQLite file, with durable commits."""
    engine = create_async_engine(
        engine_url(url),
        pool_size=size,
        connect_args={"isolation_level": None, "timeout": LONGEST_LOCK_S},
        hide_parameters=True,
    )
    _set_up(engine.sync_engine, size)

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


def _set_up(engine: Engine, size: int) -> None:
    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        # FULL: a commit is on disk before it returns, also after a power cut. Secure: deleted is overwritten.
        pragmas = ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON")
        for pragma in (*pragmas, f"cache_size=-{CACHE_KIB // size}", "temp_store=MEMORY"):
            connection.execute(f"PRAGMA {pragma}").close()
