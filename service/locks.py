"""A SQLite file belongs to one relay process; a second one is refused with the reason."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import ConfigurationError
from service.settings import Settings


@contextmanager
def only_process(settings: Settings) -> Iterator[None]:
    """Hold the lock while the block runs; nothing to do on PostgreSQL. Raises ConfigurationError."""
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
