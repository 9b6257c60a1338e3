"""Shared parts of the tables: the columns of a queue, partial indexes, and constraints made from enums."""

from sqlalchemy import BigInteger, Index, Integer, Table, text
from sqlmodel import Field, SQLModel

from service.lifecycle import OPEN_STAGES, DeliveryStatus

# SQLite assigns keys only to INTEGER columns; PostgreSQL needs BIGINT.
SERIAL = BigInteger().with_variant(Integer(), "sqlite")


def one_of(column: str, words: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(str(word)) for word in words)})"


# A query must repeat the condition of an index word for word, or SQLite does not use the index.
NOT_COMPLETED = "stage <> 'completed'"
NOT_DELIVERED = "status <> 'delivered'"
IS_SETTLED = f"status <> '{DeliveryStatus.PENDING}'"
IS_OPEN = f"{NOT_COMPLETED} AND {one_of('stage', OPEN_STAGES)}"


def partial(name: str, condition: str, *columns: str) -> Index:
    """Return an index over the rows that match `condition`, so that finished rows do not make it grow."""
    return Index(name, *columns, sqlite_where=text(condition), postgresql_where=text(condition))


def due(table: str) -> Index:
    """Return an index in the order of claims, so that a claim sorts nothing."""
    return partial(f"ix_{table}_due", "due_at_ms IS NOT NULL", "due_at_ms", "id")


class QueueColumns(SQLModel):
    """Columns of a row that waits for a worker.

    A claim sets the lease and raises `fence`; to finish the row, a worker must still hold that fence. A claim
    does not change `due_at_ms`, so that on PostgreSQL it is a cheap in-page update.
    """

    due_at_ms: int | None = Field(default=None, sa_type=BigInteger)  # None: nothing to do
    lease_until_ms: int | None = Field(default=None, sa_type=BigInteger)
    leased_by: str | None = None
    fence: int = 0
    tries: int = 0  # failed tries since the last progress
    last_error: str | None = None


def table_of(model: type[SQLModel]) -> Table:
    """Return the SQLAlchemy table of a model, for `store/`."""
    table: Table = model.__table__  # type: ignore[attr-defined]  # SQLModel adds it when the class is made
    return table
