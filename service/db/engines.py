"""SQLite and PostgreSQL: how each runs a function of a connection.

On SQLite all writes use one connection in one thread, so that no write waits for a lock or gets a busy error;
reads use a separate pool of threads. On PostgreSQL functions run with `run_sync`, which yields to the event
loop while the server works. Both hide the parameters of statements: an error must not carry transcripts into a
log.
"""

import asyncio
import fcntl
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, Dialect, Engine, create_engine, event, make_url
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import create_async_engine

from service.errors import ConfigurationError
from service.settings import Settings

T = TypeVar("T")
Work = Callable[[Connection], T]

READERS = 4  # connections to SQLite for reading
POOL_SIZE = 6  # PostgreSQL: connections kept open when idle
KEEP_ALIVE_AFTER_S = 60  # PostgreSQL: idle time of a connection before TCP keepalives start
CACHE_KIB = 16_000  # SQLite's page cache: one such size for the writer, one for all readers together
LOCK_TIMEOUT_S = 2  # SQLite: how long another program may lock the file before writes fail

# A pooler in transaction mode gives each transaction another connection, which lacks the statements prepared on
# the previous one. So statements are prepared without a name, just before they run.
NO_PREPARED_STATEMENTS: dict[str, Any] = {
    "statement_cache_size": 0,
    "prepared_statement_cache_size": 0,
    "prepared_statement_name_func": lambda: "",
}


class SQLite:
    """One SQLite file with one writer and `READERS` readers."""

    def __init__(self, url: str) -> None:
        self._writer = sqlite_engine(url, 1)
        self._readers = sqlite_engine(url, READERS)
        self._write_thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite-writer")
        self._read_threads = ThreadPoolExecutor(READERS, thread_name_prefix="sqlite-reader")
        self.dialect: Dialect = self._writer.dialect

        @event.listens_for(self._writer, "begin")
        def _begin(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    async def write(self, work: Work[T]) -> T:
        """Run `work` in a transaction and commit it."""
        return await asyncio.get_running_loop().run_in_executor(self._write_thread, self._transact, work)

    async def read(self, work: Work[T]) -> T:
        """Run `work` outside a transaction; each statement sees the newest commit."""
        return await asyncio.get_running_loop().run_in_executor(self._read_threads, self._look, work)

    async def close(self) -> None:
        """Wait for running work, then close all connections."""
        for thread, engine in ((self._write_thread, self._writer), (self._read_threads, self._readers)):
            await asyncio.to_thread(thread.shutdown)
            engine.dispose()

    def _transact(self, work: Work[T]) -> T:
        with self._writer.begin() as connection:
            return work(connection)

    def _look(self, work: Work[T]) -> T:
        with self._readers.connect() as connection:
            return work(connection)


class PostgreSQL:
    """A pool of at most `connections`. `pooled` means that a pooler in transaction mode is used."""

    def __init__(self, url: str, connections: int, *, pooled: bool) -> None:
        resting = min(POOL_SIZE, connections)
        self._engine = create_async_engine(
            engine_url(url),
            pool_size=resting,
            max_overflow=connections - resting,
            pool_use_lifo=not pooled,  # the last used connection has its statements prepared and planned
            connect_args=NO_PREPARED_STATEMENTS if pooled else {},
            hide_parameters=True,
        )
        self._without_transaction = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        self.dialect: Dialect = self._engine.dialect
        _replace_closed(self._engine.sync_engine)
        _drop_nul(self._engine.sync_engine)
        if not pooled:
            _keep_alive(self._engine.sync_engine)

    async def write(self, work: Work[T]) -> T:
        """Run `work` in a transaction and commit it."""
        async with self._engine.begin() as connection:
            return await connection.run_sync(work)

    async def read(self, work: Work[T]) -> T:
        """Run `work` outside a transaction; each statement sees the newest commit."""
        async with self._without_transaction.connect() as connection:
            return await connection.run_sync(work)

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()


def open_engine(url: str, connections: int, *, pooled: bool) -> SQLite | PostgreSQL:
    """Open the database of a URL."""
    return SQLite(url) if url.startswith("sqlite") else PostgreSQL(url, connections, pooled=pooled)


def sqlite_engine(url: str, size: int) -> Engine:
    """Return an engine with at most `size` connections to a SQLite file and durable commits.

    The connections may change threads.
    """
    engine = create_engine(
        engine_url(url),
        pool_size=size,
        max_overflow=0,
        connect_args={"isolation_level": None, "timeout": LOCK_TIMEOUT_S, "check_same_thread": False},
        hide_parameters=True,
    )
    _drop_nul(engine)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        # FULL: a commit is on disk when it returns, also after a power cut. secure_delete overwrites old data.
        pragmas = ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON")
        for pragma in (*pragmas, f"cache_size=-{CACHE_KIB // size}", "temp_store=MEMORY"):
            connection.execute(f"PRAGMA {pragma}").close()

    return engine


def engine_url(url: str) -> str:
    """Return the URL with the relay's driver. asyncpg's name for libpq's `sslmode` is `ssl`."""
    given = make_url(url)
    if url.startswith("sqlite"):
        return given.set(drivername="sqlite").render_as_string(hide_password=False)
    query = {"ssl" if name == "sslmode" else name: value for name, value in given.query.items()}
    return given.set(drivername="postgresql+asyncpg", query=query).render_as_string(hide_password=False)


def _replace_closed(engine: Engine) -> None:
    """Have the pool replace connections that the server or the network has closed."""

    @event.listens_for(engine, "checkout")
    def _check(_connection: Any, record: Any, _proxy: Any) -> None:
        if record.driver_connection.is_closed():
            raise DisconnectionError


def _keep_alive(engine: Engine) -> None:
    """Have the server send TCP keepalives on idle connections, so that the network does not drop them."""

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(f"SET tcp_keepalives_idle = {KEEP_ALIVE_AFTER_S}")
        cursor.close()
        connection.commit()


def _drop_nul(engine: Engine) -> None:
    """Remove NUL characters from text parameters: PostgreSQL rejects them, SQLite's functions stop there."""

    @event.listens_for(engine, "before_cursor_execute", retval=True)
    def _clean(
        _connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool
    ) -> tuple[str, Any]:
        if many:
            return statement, [_without_nul(each) for each in parameters]
        return statement, _without_nul(parameters)


def _without_nul(parameters: Sequence[Any] | dict[str, Any]) -> Any:
    if isinstance(parameters, dict):
        return {name: _clean_text(value) for name, value in parameters.items()}
    return tuple(_clean_text(value) for value in parameters)


def _clean_text(value: Any) -> Any:
    return value.replace("\0", "") if isinstance(value, str) and "\0" in value else value


@contextmanager
def single_process_lock(settings: Settings) -> Iterator[None]:
    """Hold the lock of the SQLite file while the block runs; does nothing on PostgreSQL.

    Raises ConfigurationError when another relay process holds it.
    """
    if not settings.is_sqlite:
        yield
        return
    path = settings.database_file
    with path.with_name(path.name + ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigurationError(
                "DATABASE_URL: another relay process works on this SQLite file; "
                "stop it, or use PostgreSQL to run several"
            ) from None
        yield
