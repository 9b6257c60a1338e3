"""Sessions on connections of a test's own: several transactions at once, ended by hand."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import Session

T = TypeVar("T")


async def in_session(connection: AsyncConnection, step: Callable[[Session], T]) -> T:
    """Run a step in the connection's transaction, which begins if need be and stays open."""
    if not connection.in_transaction():
        _ = await connection.begin()
    return await connection.run_sync(run_in_session, step)


def run_in_session(connection: Connection, step: Callable[[Session], T]) -> T:
    """Run a step in a transaction that has begun."""
    with Session(connection) as session:
        return step(session)
